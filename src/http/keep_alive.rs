//! An HTTP/1.1 connection that rests. hyper keeps two buffers of 8 KiB and all
//! that a request needs for one on which nothing happens, and browsers keep
//! several such connections each. So while one rests there is no hyper, only the
//! stream; what comes next is handed to a new one.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::runtime::activity::ActivityTracker;

/// The stream under hyper; it knows whether hyper holds anything of it.
#[derive(Debug)]
pub(super) struct KeepAliveStream<S> {
    inner: S,
    /// What was read already.
    read_ahead: Bytes,
    activity: Arc<ConnActivity>,
}

/// What hyper has in its buffers, as far as the stream can tell.
#[derive(Debug)]
pub(super) struct ConnActivity {
    activity: ActivityTracker,
    /// What was written is not flushed yet.
    unsent: AtomicBool,
    /// How often something had moved when last something was read.
    heard: AtomicU64,
}

impl ConnActivity {
    /// Returns once a request has been answered and nothing followed for a while.
    /// Cancel-safe.
    pub(super) async fn became_idle(&self) {
        loop {
            self.activity.idle_for(|_| MIN_IDLE_TIME).await;
            if self.is_idle() {
                return;
            }
            tokio::time::sleep(MIN_IDLE_TIME).await;
        }
    }

    /// Something was read: only what moves after it makes it old.
    fn record_read(&self) {
        self.heard.store(self.activity.records(), Relaxed);
    }

    /// Whether hyper can be let go: the last answer has left, and nothing was
    /// read since. Hyper flushes whenever it has written all that it holds.
    fn is_idle(&self) -> bool {
        let answered = self.activity.records() > self.heard.load(Relaxed);
        answered && !self.activity.is_active() && !self.unsent.load(Relaxed)
    }
}

impl<S> KeepAliveStream<S> {
    pub(super) fn new(inner: S, activity: ActivityTracker) -> (Self, Arc<ConnActivity>) {
        let traffic = Arc::new(ConnActivity {
            activity,
            unsent: AtomicBool::new(false),
            heard: AtomicU64::new(0),
        });
        let line = Self {
            inner,
            read_ahead: Bytes::new(),
            activity: Arc::clone(&traffic),
        };
        (line, traffic)
    }

    /// Takes back what hyper had read and not used.
    pub(super) fn unread(&mut self, ahead: Bytes) {
        if !ahead.is_empty() {
            self.read_ahead = [ahead, std::mem::take(&mut self.read_ahead)]
                .concat()
                .into();
            self.activity.record_read();
        }
    }
}

impl<S: AsyncRead + Unpin> KeepAliveStream<S> {
    /// Waits until the client says something; false if it has left. Cancel-safe.
    pub(super) async fn wait_readable(&mut self) -> bool {
        if !self.read_ahead.is_empty() {
            return true;
        }
        let read = poll_fn(|cx| {
            let mut space = [0; 1024];
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
            Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(buf.filled())))
        });
        self.read_ahead = read.await.unwrap_or_default();
        self.activity.record_read();
        !self.read_ahead.is_empty()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for KeepAliveStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.read_ahead.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        } else {
            let some = self.read_ahead.len().min(buf.remaining());
            buf.put_slice(&self.read_ahead[..some]);
            self.read_ahead.advance(some);
        }
        if buf.filled().len() > before {
            self.activity.record_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeepAliveStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity.unsent.store(true, Relaxed);
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.activity.activity.note_send(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity.activity.note_send(&polled);
        ready!(polled)?;
        self.activity.unsent.store(false, Relaxed);
        Poll::Ready(Ok(()))
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
        self.activity.unsent.store(true, Relaxed);
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.activity.activity.note_send(&polled);
        polled
    }
}

/// How long nothing must have happened. Shorter would build hyper anew for each
/// request of a page, longer would keep what a client that has its page needs not.
pub(super) const MIN_IDLE_TIME: Duration = Duration::from_secs(1);
