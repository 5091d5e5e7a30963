//! Idle HTTP/1.1 keep-alive connections. For an idle connection hyper keeps two buffers
//! of 8 KiB and the state of a request, and each browser keeps several connections open.
//! So the edge drops hyper's connection while it is idle and keeps only this stream; the
//! next bytes are served by a new hyper connection.
//!
//! Dropping it is safe only if hyper holds no bytes of its own. The stream below hyper
//! sees every read, write and flush, and derives that from them.

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
use crate::runtime::stream_filter::{FilteredStream, StreamFilter, poll_write};

/// The stream below hyper, which tracks whether hyper holds any bytes.
pub(super) type KeepAliveStream<S> = FilteredStream<S, KeepAlive>;

/// The filter of a [`KeepAliveStream`].
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// Bytes that were read from the stream and are not consumed yet; they are read first.
    read_ahead: Bytes,
    activity: Arc<ConnActivity>,
}

/// The state that the stream shares with the driver of the connection. The stream writes
/// it while hyper polls; the driver reads it from a timer in the same task.
#[derive(Debug)]
pub(super) struct ConnActivity {
    activity: ActivityTracker,
    /// Whether bytes were written and not flushed yet.
    has_unflushed: AtomicBool,
    /// [`ActivityTracker::records`] at the last read.
    records_at_read: AtomicU64,
    /// Whether a head has begun: the first with the connection, others with a byte.
    is_reading_head: AtomicBool,
}

impl ConnActivity {
    /// Completes once the connection is idle: there was no activity for [`MIN_IDLE_TIME`],
    /// the last response has been sent, and nothing was read after it. Cancel-safe.
    pub(super) async fn became_idle(&self) {
        loop {
            self.activity.idle_for(|_| MIN_IDLE_TIME).await;
            if self.is_idle() {
                return;
            }
            tokio::time::sleep(MIN_IDLE_TIME).await;
        }
    }

    /// Records that bytes were read, which hyper may hold now.
    fn record_read(&self) {
        self.records_at_read.store(self.activity.records(), Relaxed);
        self.is_reading_head.store(true, Relaxed);
    }

    /// Records that hyper waits for a head: the next byte begins it.
    pub(super) fn await_head(&self) {
        self.is_reading_head.store(false, Relaxed);
    }

    /// Returns whether a head has begun. Meaningless while an exchange is open, since the
    /// bytes of its body count too.
    pub(super) fn is_reading_head(&self) -> bool {
        self.is_reading_head.load(Relaxed)
    }

    /// Returns whether hyper's connection can be dropped.
    fn is_idle(&self) -> bool {
        // A read is not activity, but the request that it brings is. Without activity
        // after the last read, hyper may be waiting for the rest of a head, with its
        // timeout running. hyper flushes the stream only after it has written its whole
        // buffer, so a flush after the last write means that no response is left there.
        let has_consumed = self.activity.records() > self.records_at_read.load(Relaxed);
        has_consumed && !self.activity.is_active() && !self.has_unflushed.load(Relaxed)
    }
}

impl<S> KeepAliveStream<S> {
    /// Wraps `stream`, and returns it with the state that it shares.
    pub(super) fn new(stream: S, activity: ActivityTracker) -> (Self, Arc<ConnActivity>) {
        let conn_activity = Arc::new(ConnActivity {
            activity,
            has_unflushed: AtomicBool::new(false),
            records_at_read: AtomicU64::new(0),
            is_reading_head: AtomicBool::new(true),
        });
        let filter = KeepAlive {
            read_ahead: Bytes::new(),
            activity: Arc::clone(&conn_activity),
        };
        (Self { stream, filter }, conn_activity)
    }

    /// Puts back bytes that hyper has read and not consumed; the next read returns them.
    pub(super) fn unread(&mut self, ahead: Bytes) {
        if !ahead.is_empty() {
            let filter = &mut self.filter;
            filter.read_ahead = [ahead, std::mem::take(&mut filter.read_ahead)]
                .concat()
                .into();
            filter.activity.record_read();
        }
    }
}

impl<S: AsyncRead + Unpin> KeepAliveStream<S> {
    /// Waits until the client has sent bytes; returns false if it has closed the
    /// connection or a read fails. Cancel-safe: bytes are kept in `read_ahead`.
    pub(super) async fn wait_readable(&mut self) -> bool {
        let Self { stream, filter } = self;
        if !filter.read_ahead.is_empty() {
            return true;
        }
        let read = poll_fn(|cx| {
            // The buffer lives on the stack for one poll, so waiting needs no memory.
            let mut space = [0; 1024];
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
            Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(buf.filled())))
        });
        filter.read_ahead = read.await.unwrap_or_default();
        filter.activity.record_read();
        !filter.read_ahead.is_empty()
    }
}

impl StreamFilter for KeepAlive {
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.read_ahead.is_empty() {
            ready!(Pin::new(stream).poll_read(cx, buf))?;
        } else {
            let count = self.read_ahead.len().min(buf.remaining());
            buf.put_slice(&self.read_ahead[..count]);
            self.read_ahead.advance(count);
        }
        if buf.filled().len() > before {
            self.activity.record_read();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.has_unflushed.store(true, Relaxed);
        let polled = poll_write(stream, cx, bufs);
        self.activity.activity.note_send(&polled);
        polled
    }

    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(stream).poll_flush(cx);
        self.activity.activity.note_send(&polled);
        ready!(polled)?;
        self.activity.has_unflushed.store(false, Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// The time without activity after which a connection counts as idle. A shorter time would
/// build a new hyper connection for each request of a page; a longer one would keep memory
/// for clients that have loaded their page.
pub(super) const MIN_IDLE_TIME: Duration = Duration::from_secs(1);
