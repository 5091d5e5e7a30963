//! Frames that carry nothing: pings, settings, priorities, headers or messages
//! that go on and on. Each is cheap and none is forbidden, so a client that sends nothing
//! else is cut off by what it has sent since anything last moved; and one that
//! only begins requests to reset them (CVE-2023-44487), by how many it has.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ActivityTracker;

/// A connection whose bytes are counted while nothing moves. What it sends is noted,
/// too.
#[derive(Debug)]
pub struct FloodGuard<S> {
    inner: S,
    activity: ActivityTracker,
    noise: usize,
    /// When it last moved, by the count of movements.
    moved: u64,
}

/// The client sent too much while nothing moved.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client sent nothing but noise")]
pub struct ControlFlood;

impl<S> FloodGuard<S> {
    /// Counts from now on.
    pub fn new(inner: S, activity: ActivityTracker) -> Self {
        Self {
            inner,
            moved: activity.records(),
            activity,
            noise: 0,
        }
    }

    /// Counts `read` bytes.
    fn count(&mut self, read: usize) -> io::Result<()> {
        let moved = self.activity.records();
        if moved != self.moved {
            (self.moved, self.noise) = (moved, 0);
        }
        self.noise += read;
        if self.noise > MAX_IDLE_BYTES {
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

/// More than heads and window updates take that belong to something, and than
/// is in flight of a body that nobody takes: the connection's window.
const MAX_IDLE_BYTES: usize = 2 * 1024 * 1024;
/// Requests in a row: more than a page has that somebody leaves before it is there.
const MAX_ABANDONED_EXCHANGES: usize = 200;
