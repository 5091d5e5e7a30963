//! Scratch memory for TLS: one buffer per thread, in which all connections of the thread
//! decrypt and encrypt, one after the other.
//!
//! A poll function takes the buffer, uses it without an `.await`, and gives it back. So no
//! connection keeps a buffer of its own between two polls.

use std::cell::Cell;

/// The thread's buffer while one connection reads or writes; given back on drop.
///
/// It still holds the plaintext of another connection. Only bytes that the borrower has
/// written itself may be read.
#[derive(Debug)]
pub(super) struct Scratch(Box<[u8]>);

impl Scratch {
    /// Takes the thread's buffer, or allocates another if that is in use.
    pub(super) fn take() -> Self {
        let scratch = SCRATCH.try_with(Cell::take).ok().flatten();
        Self(scratch.unwrap_or_else(|| vec![0; SCRATCH_BYTES].into_boxed_slice()))
    }

    /// Returns the whole buffer of [`SCRATCH_BYTES`] bytes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.0);
        // It fails while the thread ends: the buffer is freed then.
        let _ = SCRATCH.try_with(|scratch| scratch.set(Some(room)));
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The size in bytes. It holds the records of one write (`stream::MAX_PLAINTEXT_BYTES` with
/// heads and tags), and the largest handshake message that rustls accepts (64 KiB) with a
/// record of TLS 1.2 after it (18 KiB, RFC 5246 §6.2.3).
pub(super) const SCRATCH_BYTES: usize = 84 * 1024;
