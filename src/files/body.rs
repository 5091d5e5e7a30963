//! The body of a file response: reads the file in chunks as the client takes them. Bytes in
//! the page cache are read on the runtime's thread; the disk is waited for on a blocking
//! thread.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

use super::root_dir::DiskWait;
use crate::core::body;
use crate::limit::Permit;

/// The body of one byte range of a file.
#[derive(Debug)]
pub(super) struct FileBody {
    file: Arc<OpenFile>,
    /// The offset of the next byte.
    offset: u64,
    /// The bytes that remain to be read.
    left: u64,
    /// The read on a blocking thread that is waited for.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

/// An open file with its permit. A blocking thread that hangs on a dead disk keeps both,
/// so the file counts as open for as long.
#[derive(Debug)]
struct OpenFile {
    descriptor: OwnedFd,
    _permit: Permit,
}

/// The error of a file that was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileBodyError {
    /// The file was truncated meanwhile.
    #[error("the file became shorter while it was sent")]
    Truncated,
    /// The disk has failed.
    #[error("cannot read the file")]
    Unreadable(#[from] io::Error),
}

impl FileBody {
    /// Creates the body of `length` bytes from the offset `first` on.
    pub(super) fn new(descriptor: OwnedFd, permit: Permit, first: u64, length: u64) -> Self {
        let file = OpenFile {
            descriptor,
            _permit: permit,
        };
        Self {
            file: Arc::new(file),
            offset: first,
            left: length,
            reading: None,
        }
    }

    /// Reads the next chunk: from the page cache if it is there, else on a blocking thread.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let (offset, max_bytes) = (self.offset, CHUNK_BYTES.min(self.left));
        if self.reading.is_none() {
            match read_chunk(
                &self.file.descriptor,
                offset,
                max_bytes,
                DiskWait::Forbidden,
            ) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(&self.file);
            spawn_blocking(move || {
                read_chunk(&file.descriptor, offset, max_bytes, DiskWait::Allowed)
            })
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(read.map_err(io::Error::other).flatten())
    }
}

/// Reads up to `max_bytes` at `offset`; returns no bytes at the end of the file. Without
/// `DiskWait::Allowed` it fails with [`io::ErrorKind::WouldBlock`] instead of waiting.
fn read_chunk(
    file: &OwnedFd,
    offset: u64,
    max_bytes: u64,
    disk_wait: DiskWait,
) -> io::Result<Bytes> {
    let flags = match disk_wait {
        DiskWait::Forbidden => ReadWriteFlags::NOWAIT,
        DiskWait::Allowed => ReadWriteFlags::empty(),
    };
    let mut buffer = vec![0; usize::try_from(max_bytes).unwrap_or(0)];
    loop {
        match preadv2(file, &mut [IoSliceMut::new(&mut buffer)], offset, flags) {
            Ok(read) => {
                buffer.truncate(read);
                return Ok(buffer.into());
            }
            Err(Errno::INTR) => {}
            // The file system does not support RWF_NOWAIT.
            Err(Errno::OPNOTSUPP) if disk_wait == DiskWait::Forbidden => {
                return Err(Errno::AGAIN.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let result = match ready!(self.poll_chunk(cx)) {
            Ok(chunk) if chunk.is_empty() => Err(FileBodyError::Truncated),
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(FileBodyError::Unreadable(error)),
        };
        let chunk = match result {
            Ok(chunk) => chunk,
            Err(error) => {
                self.left = 0;
                return Poll::Ready(Some(Err(error.into())));
            }
        };
        self.offset += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The bytes of a file that one download holds in memory.
const CHUNK_BYTES: u64 = 64 * 1024;
