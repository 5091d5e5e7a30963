//! The stream under a session. Its own task reads from it and writes to it; while that
//! has nothing to do, whoever delivers to its rooms writes there for it.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Bytes;

use super::super::protocol;
use crate::metrics::Metrics;
use crate::rooms::{Batch, DirectWriter, SendResult};

/// One of those who share the stream. What they write leaves in the order in which they
/// wrote it, and publications whole.
#[derive(Debug)]
pub(super) struct SharedStream<S>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    write_state: Mutex<WriteState<S>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct WriteState<S> {
    stream: S,
    /// Frames that go before all else that is written.
    unsent: SmallVec<[Bytes; 1]>,
    /// Of the first of them a part has left.
    is_begun: bool,
    /// Publications that have not all left.
    leaving: Option<PendingDelivery>,
    /// What went wrong while nobody waited.
    failed: Option<io::Error>,
}

/// Publications on their way.
#[derive(Clone, Copy, Debug)]
struct PendingDelivery {
    count: u64,
    /// When the first of them was published.
    since: Instant,
}

impl<S> SharedStream<S> {
    pub(super) fn new(stream: S, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            write_state: Mutex::new(WriteState {
                stream,
                unsent: SmallVec::new(),
                is_begun: false,
                leaving: None,
                failed: None,
            }),
            metrics,
        }))
    }

    /// Puts publications behind what was written, before what will be.
    pub(super) fn enqueue(&self, batch: Batch) {
        self.0.put(&mut self.0.write_state.lock(), batch);
    }

    /// Drops publications that were put here, but for one of which a part has left.
    pub(super) fn forget(&self) {
        let mut line = self.0.write_state.lock();
        let begun = usize::from(line.is_begun);
        line.unsent.truncate(begun);
        line.leaving = None;
    }

    /// For those who deliver.
    pub(super) fn direct_writer(&self) -> Arc<dyn DirectWriter>
    where
        S: AsyncWrite + Debug + Send + Unpin + 'static,
    {
        Arc::clone(&self.0) as Arc<dyn DirectWriter>
    }
}

impl<S: AsyncWrite + Unpin> SharedStream<S> {
    /// Writes some of what was put here; true once that is all.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut line = self.0.write_state.lock();
        if !line.is_clear() {
            ready!(line.poll_send(cx))?;
        }
        Poll::Ready(Ok(line.is_clear()))
    }
}

impl<S> Shared<S> {
    fn put(&self, line: &mut WriteState<S>, batch: Batch) {
        let Some(first) = batch.first() else {
            return;
        };
        let leaving = line.leaving.get_or_insert_with(|| PendingDelivery {
            count: 0,
            since: first.created_at(),
        });
        leaving.count += batch.len() as u64;
        for publication in batch {
            self.metrics
                .events
                .add(protocol::publication_type(&publication));
            line.unsent.push(publication.frame(protocol::frame));
        }
    }
}

impl<S: AsyncWrite + Unpin> Shared<S> {
    /// Flushes, and counts what has left.
    fn poll_flush(&self, line: &mut WriteState<S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(line.poll_clear(cx))?;
        ready!(Pin::new(&mut line.stream).poll_flush(cx))?;
        if let Some(left) = line.leaving.take() {
            self.metrics.deliveries.add(left.count);
            self.metrics.delivery_seconds.observe(left.since.elapsed());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Debug + Send + Unpin> DirectWriter for Shared<S> {
    fn send(&self, take: &mut dyn FnMut() -> Batch) -> SendResult {
        let mut line = self.write_state.lock();
        if line.leaving.is_some() {
            // The session waits for it, and will look for more then.
            return SendResult::Nothing;
        }
        self.put(&mut line, take());
        if line.leaving.is_none() {
            return SendResult::All;
        }
        // One write, for others have their turn too, and nobody waits here: if that is not
        // all, or it failed, the session goes on.
        let mut cx = Context::from_waker(Waker::noop());
        let sent = match line.poll_send(&mut cx) {
            Poll::Ready(Ok(())) if line.is_clear() => self.poll_flush(&mut line, &mut cx),
            Poll::Ready(Ok(())) => Poll::Pending,
            sent => sent,
        };
        match sent {
            Poll::Ready(Ok(())) => return SendResult::All,
            Poll::Ready(Err(error)) => line.failed = Some(error),
            Poll::Pending => {}
        }
        SendResult::Part
    }
}

impl<S: AsyncWrite + Unpin> WriteState<S> {
    fn is_clear(&self) -> bool {
        self.unsent.is_empty() && self.failed.is_none()
    }

    /// Writes all frames that wait.
    fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_clear() {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// One write of frames that wait.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let stream = Pin::new(&mut self.stream);
        let mut sent = ready!(match &*self.unsent {
            [frame] => stream.poll_write(cx, &frame[..frame.len().min(MAX_WRITE_BYTES)]),
            frames => {
                let mut left = MAX_WRITE_BYTES;
                let pieces = frames.iter().take(MAX_WRITE_FRAMES).map(|frame| {
                    let some = &frame[..frame.len().min(left)];
                    left -= some.len();
                    IoSlice::new(some)
                });
                let pieces = pieces.take_while(|piece| !piece.is_empty());
                let pieces: SmallVec<[_; 8]> = pieces.collect();
                stream.poll_write_vectored(cx, &pieces)
            }
        })?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let whole = self.unsent.iter().take_while(|frame| {
            let is_whole = frame.len() <= sent;
            sent -= if is_whole { frame.len() } else { 0 };
            is_whole
        });
        let whole = whole.count();
        self.unsent.drain(..whole);
        self.is_begun = sent > 0;
        if sent > 0 {
            let _ = self.unsent[0].split_to(sent);
        }
        if self.unsent.is_empty() {
            self.unsent = SmallVec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SharedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.write_state.lock().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SharedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut line = self.0.write_state.lock();
        ready!(line.poll_clear(cx))?;
        Pin::new(&mut line.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(&mut self.0.write_state.lock(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.write_state.lock();
        ready!(self.0.poll_flush(&mut line, cx))?;
        Pin::new(&mut line.stream).poll_shutdown(cx)
    }
}

/// Bytes in one write: one TLS record, and so little that even a slow client takes it
/// within the write timeout.
pub(super) const MAX_WRITE_BYTES: usize = 16 * 1024;
/// Frames in one write.
const MAX_WRITE_FRAMES: usize = 64;

#[cfg(test)]
mod tests;
