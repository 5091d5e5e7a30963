//! A file on its way to a client: read in chunks when the client takes more. What the
//! kernel has in memory is read at once, without another thread; the disk is waited
//! for on a thread that serves nobody else.

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

/// Some bytes of a file, in order.
#[derive(Debug)]
pub(super) struct FileBody {
    file: Arc<OpenFile>,
    at: u64,
    left: u64,
    /// What is being waited for.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

/// The file, and the place that it takes among those that may be open. A thread that
/// waits for a dead disk keeps both.
#[derive(Debug)]
struct OpenFile {
    descriptor: OwnedFd,
    _place: Permit,
}

/// Why a file was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileBodyError {
    /// Somebody cut it off meanwhile.
    #[error("the file became shorter while it was sent")]
    Truncated,
    /// The disk.
    #[error("cannot read the file")]
    Unreadable(#[from] io::Error),
}

impl FileBody {
    /// `length` bytes from `first` on.
    pub(super) fn new(descriptor: OwnedFd, place: Permit, first: u64, length: u64) -> Self {
        let file = OpenFile {
            descriptor,
            _place: place,
        };
        Self {
            file: Arc::new(file),
            at: first,
            left: length,
            reading: None,
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let (at, most) = (self.at, CHUNK_BYTES.min(self.left));
        if self.reading.is_none() {
            match read_chunk(&self.file.descriptor, at, most, DiskWait::Forbidden) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(&self.file);
            spawn_blocking(move || read_chunk(&file.descriptor, at, most, DiskWait::Allowed))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(read.map_err(io::Error::other).flatten())
    }
}

/// Some bytes from `at` on, `most` at most; none at the end.
fn read_chunk(file: &OwnedFd, at: u64, most: u64, patience: DiskWait) -> io::Result<Bytes> {
    let flags = match patience {
        DiskWait::Forbidden => ReadWriteFlags::NOWAIT,
        DiskWait::Allowed => ReadWriteFlags::empty(),
    };
    let mut buffer = vec![0; usize::try_from(most).unwrap_or(0)];
    loop {
        match preadv2(file, &mut [IoSliceMut::new(&mut buffer)], at, flags) {
            Ok(read) => {
                buffer.truncate(read);
                return Ok(buffer.into());
            }
            Err(Errno::INTR) => {}
            // A file system that cannot tell what it has in memory.
            Err(Errno::OPNOTSUPP) if patience == DiskWait::Forbidden => {
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
        let chunk = match ready!(self.poll_chunk(cx)) {
            Ok(chunk) if chunk.is_empty() => Err(FileBodyError::Truncated),
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(FileBodyError::Unreadable(error)),
        };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(broken) => {
                self.left = 0;
                return Poll::Ready(Some(Err(broken.into())));
            }
        };
        self.at += chunk.len() as u64;
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

/// What one download holds in memory.
const CHUNK_BYTES: u64 = 64 * 1024;
