//! A file without a name that holds a part of one response.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::state::Chunk;
use crate::upstream::ledger::DiskReservation;

/// Written at its end, read from its beginning, both at once. Its disk space is freed
/// only with the file.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    file: Option<(Arc<File>, DiskReservation)>,
    start: u64,
    end: u64,
}

impl TemporaryFile {
    /// Opens one in the directory for temporary files. Blocks.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn create(room: DiskReservation) -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        Ok(Self {
            file: Some((Arc::new(file), room)),
            start: 0,
            end: 0,
        })
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn unread(&self) -> u64 {
        self.end - self.start
    }

    pub(super) fn is_drained(&self) -> bool {
        self.start == self.end
    }

    /// What is to be read next; none if all is read.
    pub(super) fn next(&self) -> Option<Chunk> {
        let length = READ_CHUNK_BYTES.min(self.unread());
        let (file, _) = self.file.as_ref().filter(|_| length > 0)?;
        Some(Chunk {
            file: Arc::clone(file),
            at: self.start,
            length: usize::try_from(length).unwrap_or(usize::MAX),
        })
    }

    /// Where the next `length` bytes are to be written.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn extend(&mut self, length: usize) -> io::Result<Chunk> {
        let (file, room) = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        room.take(length as u64).map_err(io::Error::other)?;
        Ok(Chunk {
            file: Arc::clone(file),
            at: self.end,
            length,
        })
    }

    /// The end of a write of `length` bytes; what is not written may be tried again.
    pub(super) fn end_write(&mut self, length: usize, is_written: bool) {
        if is_written {
            self.end += length as u64;
        } else if let Some((_, room)) = &mut self.file {
            room.give_back(length as u64);
        }
    }

    pub(super) fn taken(&mut self, length: usize) {
        self.start += length as u64;
    }
}

/// Freeing the space of a large file takes milliseconds, so another thread does it.
impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let (Some(file), Ok(runtime)) = (self.file.take(), Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(file)));
        }
    }
}

/// What is read at once, in bytes.
const READ_CHUNK_BYTES: u64 = 32 * 1024;
