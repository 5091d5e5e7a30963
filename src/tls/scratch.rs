//! The memory in which a thread's TLS connections work, one after the other.

use std::cell::Cell;

/// What is lent while one connection reads or writes. What it left there is
/// somebody's secret: only what has been written since may be read.
#[derive(Debug)]
pub(super) struct Scratch(Box<[u8]>);

impl Scratch {
    /// Takes the thread's, or makes another if that is lent already.
    pub(super) fn take() -> Self {
        let kept = KEPT.try_with(Cell::take).ok().flatten();
        Self(kept.unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice()))
    }

    /// All of it, [`SCRATCH_BYTES`] bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.0);
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|kept| kept.set(Some(room)));
    }
}

thread_local! {
    static KEPT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// What is encrypted at once, with what is around it; and the largest handshake message
/// that rustls takes (64 KiB), with a record of TLS 1.2 that goes on after it (18 KiB,
/// RFC 5246 §6.2.3).
pub(super) const SCRATCH_BYTES: usize = 84 * 1024;
