//! Protection against floods of frames that carry nothing: PING, SETTINGS, PRIORITY, or
//! header blocks that never end. Each frame is cheap and allowed, so the guard counts the
//! bytes received since the last activity and closes the connection above a bound. It
//! also counts requests that the client resets in a row (rapid reset, CVE-2023-44487).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ActivityTracker;
use crate::runtime::stream_filter::{FilteredStream, StreamFilter, poll_write};

/// A stream that fails reads once the client floods it. It also records for the tracker
/// whether the socket accepts writes.
pub(crate) type FloodGuard<S> = FilteredStream<S, FloodFilter>;

/// The filter of a [`FloodGuard`].
#[derive(Debug)]
pub(crate) struct FloodFilter {
    activity: ActivityTracker,
    /// Bytes read since the last activity.
    idle_bytes: usize,
    /// [`ActivityTracker::records`] at the last read.
    seen_records: u64,
}

/// The error of a client that has sent too many bytes without any activity.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client sent nothing but noise")]
pub(crate) struct ControlFlood;

impl<S> FloodGuard<S> {
    /// Wraps `stream`, the connection that `activity` tracks.
    pub(crate) fn new(stream: S, activity: ActivityTracker) -> Self {
        Self {
            stream,
            filter: FloodFilter {
                seen_records: activity.records(),
                activity,
                idle_bytes: 0,
            },
        }
    }
}

impl FloodFilter {
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
            Err(io::Error::other("the client reset all its requests"))
        } else {
            Ok(())
        }
    }
}

impl StreamFilter for FloodFilter {
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        Poll::Ready(self.count(read))
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = poll_write(stream, cx, bufs);
        self.activity.note_send(&polled);
        polled
    }

    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(stream).poll_flush(cx);
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
