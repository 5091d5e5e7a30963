//! The unlinked temporary file that holds a part of one response.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::upstream::byte_quota::Reservation;

/// A queue of bytes in a file: the pump writes at the end while the client reads from the
/// start. The disk space is freed only with the file.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    file: Option<(Arc<File>, Reservation)>,
    start: u64,
    end: u64,
}

/// A range of bytes of a file.
pub(super) struct Chunk {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    pub(super) length: usize,
}

impl TemporaryFile {
    /// Creates a file in the directory for temporary files. Blocks.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn create(reservation: Reservation) -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        Ok(Self {
            file: Some((Arc::new(file), reservation)),
            start: 0,
            end: 0,
        })
    }

    /// Returns the number of bytes that have ever been written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Returns the number of bytes that the client has not read.
    pub(super) fn unread(&self) -> u64 {
        self.end - self.start
    }

    /// Returns whether the client has read all that has been written.
    pub(super) fn is_drained(&self) -> bool {
        self.start == self.end
    }

    /// Returns the part of the file to read next, or `None` if all has been read.
    pub(super) fn next(&self) -> Option<Chunk> {
        let length = READ_CHUNK_BYTES.min(self.unread());
        let (file, _) = self.file.as_ref().filter(|_| length > 0)?;
        Some(Chunk {
            file: Arc::clone(file),
            at: self.start,
            length: usize::try_from(length).unwrap_or(usize::MAX),
        })
    }

    /// Reserves the next `length` bytes and returns the part of the file to write.
    /// [`Self::end_write`] must follow.
    ///
    /// # Errors
    /// Returns an error that wraps `NoRoom` if the disk budget is exhausted.
    pub(super) fn extend(&mut self, length: usize) -> io::Result<Chunk> {
        let (file, reservation) = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        reservation.grow(length as u64).map_err(io::Error::other)?;
        Ok(Chunk {
            file: Arc::clone(file),
            at: self.end,
            length,
        })
    }

    /// Records the end of a write of `length` bytes. A failed write releases its bytes and
    /// may be retried at the same position.
    pub(super) fn end_write(&mut self, length: usize, is_written: bool) {
        if is_written {
            self.end += length as u64;
        } else if let Some((_, reservation)) = &mut self.file {
            reservation.release(length as u64);
        }
    }

    /// Records that the client has read `length` bytes.
    pub(super) fn advance(&mut self, length: usize) {
        self.start += length as u64;
    }
}

/// Closes the file on a thread for blocking work: freeing the space of a large file takes
/// milliseconds.
impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let (Some(file), Ok(runtime)) = (self.file.take(), Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(file)));
        }
    }
}

/// The maximum of bytes in one read.
const READ_CHUNK_BYTES: u64 = 32 * 1024;
