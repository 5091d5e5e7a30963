//! Protection against floods of frames that carry nothing: PING, SETTINGS, PRIORITY, or
//! header blocks that never end. Each frame is cheap and allowed, so the guard counts the
//! bytes received since the last activity and closes the connection above a bound. It
//! also counts requests that the client resets in a row (rapid reset, CVE-2023-44487).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ActivityTracker;

/// A stream that fails reads once the client floods it. It also records for the tracker
/// whether the socket accepts writes.
#[derive(Debug)]
pub struct FloodGuard<S> {
    inner: S,
    activity: ActivityTracker,
    /// Bytes read since the last activity.
    idle_bytes: usize,
    /// [`ActivityTracker::records`] at the last read.
    seen_records: u64,
}

/// The error of a client that has sent too many bytes without any activity.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client sent nothing but noise")]
pub struct ControlFlood;

impl<S> FloodGuard<S> {
    /// Wraps `inner`, the connection that `activity` tracks.
    pub fn new(inner: S, activity: ActivityTracker) -> Self {
        Self {
            inner,
            seen_records: activity.records(),
            activity,
            idle_bytes: 0,
        }
    }

    /// Counts `read` bytes, and fails if the client is over a bound.
    fn count(&mut self, read: usize) -> io::Result<()> {
        let records = self.activity.records();
        if records != self.seen_records {
            (self.seen_records, self.idle_bytes) = (records, 0);
        }
        self.idle_bytes += read;
        if self.idle_bytes > MAX_IDLE_BYTES {
            return Err(io::Error::other(ControlFlood));
        }
        if self.activity.abandoned_exchanges() > MAX_ABANDONED_EXCHANGES {
            Err(io::Error::other("the client gave up all that it asked for"))
        } else {
            Ok(())
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FloodGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        Poll::Ready(self.count(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FloodGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.activity.note_send(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity.note_send(&polled);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.activity.note_send(&polled);
        polled
    }
}

/// Bytes without activity after which the connection is closed. More than the heads and
/// window updates of legitimate requests, and than the unread part of a body in flight,
/// which the connection's window bounds.
const MAX_IDLE_BYTES: usize = 2 * 1024 * 1024;
/// Abandoned requests in a row after which the connection is closed. More than a browser
/// cancels when the user leaves a page that is still loading.
const MAX_ABANDONED_EXCHANGES: usize = 200;
