//! The stream under a session's protocol, shared with the scheduler. The session's task reads
//! and writes through it. While the session is parked, a scheduler task writes publications
//! to it without waking the session (decision 0016).
//!
//! Frames leave in the order in which they were written: both sides write under one lock,
//! and whatever a direct write leaves unsent goes before all that the session writes later.
//! A publication is never interleaved with another frame. The protocol's own buffers are
//! empty while the session is parked, for its task flushes before it polls its inbox.
//!
//! The lock is held for one operation that never blocks, so either side waits a moment at
//! most for the other. It is taken before the lock of the session's delivery state, never
//! after.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::metrics::DeliveryMetrics;
use super::super::publication::{Publication, Wire};
use super::super::receipts::Receipts;
use super::direct_writer::{DirectWriter, SendResult};
use super::queue::Batch;
use crate::runtime::sync::Mutex;

/// The functions by which a session's protocol writes publications: the rooms know none.
#[derive(Debug)]
pub(crate) struct PublicationEncoder {
    /// The protocol.
    pub(crate) wire: Wire,
    /// Encodes a publication as one whole frame.
    pub(crate) frame: fn(&Publication) -> Bytes,
    /// Encodes a ping with this payload as one whole frame.
    pub(crate) ping: fn(&[u8]) -> Bytes,
}

/// The session's handle of the stream. A write through it first sends what is unsent.
#[derive(Debug)]
pub(crate) struct SharedStream<S>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    write_state: Mutex<WriteState<S>>,
    encoder: &'static PublicationEncoder,
    metrics: Arc<DeliveryMetrics>,
    /// None if nothing needs to be confirmed.
    receipts: Option<Arc<Receipts>>,
}

#[derive(Debug)]
struct WriteState<S> {
    stream: S,
    /// Encoded frames that go before everything that is written later.
    unsent: SmallVec<[Bytes; 1]>,
    /// The first of them has left in part, so it must be completed.
    is_begun: bool,
    /// The publications that are not flushed yet. While there are any, the session writes,
    /// and nothing is written for it.
    pending: Option<PendingDelivery>,
    /// The error of a direct write, for the session's next operation.
    failed: Option<io::Error>,
}

/// Publications on their way, for the metrics of deliveries.
#[derive(Clone, Copy, Debug)]
struct PendingDelivery {
    count: u64,
    /// The time at which the first of them was published.
    since: Instant,
}

impl<S> SharedStream<S> {
    /// Shares `stream`, with nothing unsent. Broadcasts are recorded in `receipts`.
    pub(crate) fn new(
        stream: S,
        encoder: &'static PublicationEncoder,
        metrics: Arc<DeliveryMetrics>,
        receipts: Option<Arc<Receipts>>,
    ) -> Self {
        Self(Arc::new(Shared {
            write_state: Mutex::new(WriteState {
                stream,
                unsent: SmallVec::new(),
                is_begun: false,
                pending: None,
                failed: None,
            }),
            encoder,
            metrics,
            receipts,
        }))
    }

    /// Returns what was written and what the client has confirmed of it.
    pub(crate) fn receipts(&self) -> Option<&Arc<Receipts>> {
        self.0.receipts.as_ref()
    }

    /// Queues a batch behind what was written, and before what will be.
    pub(crate) fn enqueue(&self, batch: Batch) {
        self.0.enqueue(&mut self.0.write_state.lock(), batch);
    }

    /// Drops the unsent frames, but for one that has left in part: without its end the
    /// client could not read the close frame.
    pub(crate) fn discard_unsent(&self) {
        let mut state = self.0.write_state.lock();
        let begun = usize::from(state.is_begun);
        state.unsent.truncate(begun);
        state.pending = None;
    }

    /// Returns the handle by which the scheduler writes.
    pub(crate) fn direct_writer(&self) -> Arc<dyn DirectWriter>
    where
        S: AsyncWrite + Debug + Send + Unpin + 'static,
    {
        Arc::clone(&self.0) as Arc<dyn DirectWriter>
    }
}

impl<S: AsyncWrite + Unpin> SharedStream<S> {
    /// Makes one write of what is unsent; returns true once nothing is.
    ///
    /// # Errors
    /// The error of the stream, or that of an earlier direct write.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut state = self.0.write_state.lock();
        if !state.is_clear() {
            ready!(state.poll_send(cx))?;
        }
        Poll::Ready(Ok(state.is_clear()))
    }
}

impl<S> Shared<S> {
    /// Encodes a batch, unless that was done for another session, and queues it. The frame
    /// is shared, not copied. A ping follows it if the client is to confirm it.
    fn enqueue(&self, state: &mut WriteState<S>, batch: Batch) {
        let Some(first) = batch.first() else {
            return;
        };
        let pending = state.pending.get_or_insert_with(|| PendingDelivery {
            count: 0,
            since: first.created_at(),
        });
        pending.count += batch.len() as u64;
        let (mut broadcasts, mut newest) = (0, 0);
        for publication in batch {
            self.metrics.count_publication(publication.kind());
            if let Some(position) = publication.position() {
                broadcasts += 1;
                newest = position.offset.max(newest);
            }
            state
                .unsent
                .push(publication.frame(self.encoder.wire, self.encoder.frame));
        }
        if broadcasts > 0
            && let Some(receipts) = &self.receipts
            && let Some(mark) = receipts.record_written(broadcasts, newest)
        {
            state.unsent.push((self.encoder.ping)(&mark.to_bytes()));
        }
    }
}

impl<S: AsyncWrite + Unpin> Shared<S> {
    /// Writes what is unsent, flushes, and counts the deliveries that this completes.
    fn poll_flush(&self, state: &mut WriteState<S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(state.poll_clear(cx))?;
        ready!(Pin::new(&mut state.stream).poll_flush(cx))?;
        if let Some(sent) = state.pending.take() {
            self.metrics
                .record_delivery(sent.count, sent.since.elapsed());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Debug + Send + Unpin> DirectWriter for Shared<S> {
    fn send(&self, take: &mut dyn FnMut() -> Batch) -> SendResult {
        let mut state = self.write_state.lock();
        if state.pending.is_some() {
            return SendResult::Nothing;
        }
        // The batch is taken under this lock: the session, which may become busy at any time,
        // writes nothing between the taking and the queueing.
        self.enqueue(&mut state, take());
        if state.pending.is_none() {
            return SendResult::All;
        }
        // One write, so that the task can serve other sessions. It registers no waker: if it
        // does not send all, the session is woken (`SendResult::Part`), polls the stream
        // itself and registers its own. A parked session waits for no write, so none of its
        // wakers is replaced here.
        let mut cx = Context::from_waker(Waker::noop());
        let sent = match state.poll_send(&mut cx) {
            Poll::Ready(Ok(())) if state.is_clear() => self.poll_flush(&mut state, &mut cx),
            Poll::Ready(Ok(())) => Poll::Pending,
            sent => sent,
        };
        match sent {
            Poll::Ready(Ok(())) => return SendResult::All,
            Poll::Ready(Err(error)) => state.failed = Some(error),
            Poll::Pending => {}
        }
        SendResult::Part
    }
}

impl<S: AsyncWrite + Unpin> WriteState<S> {
    /// Returns whether a write may go straight to the stream.
    fn is_clear(&self) -> bool {
        self.unsent.is_empty() && self.failed.is_none()
    }

    /// Writes all unsent frames.
    fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_clear() {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes one write of unsent frames, of at most [`MAX_WRITE_BYTES`] and
    /// [`MAX_WRITE_FRAMES`].
    ///
    /// # Errors
    /// The error of the stream or of an earlier direct write; `WriteZero` if the stream
    /// accepts nothing.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let stream = Pin::new(&mut self.stream);
        let mut sent = ready!(match &*self.unsent {
            // Nearly every batch is one frame, which needs no vectored write.
            [frame] => stream.poll_write(cx, &frame[..frame.len().min(MAX_WRITE_BYTES)]),
            frames => {
                let mut left = MAX_WRITE_BYTES;
                let slices = frames.iter().take(MAX_WRITE_FRAMES).map(|frame| {
                    let part = &frame[..frame.len().min(left)];
                    left -= part.len();
                    IoSlice::new(part)
                });
                let slices: SmallVec<[_; 8]> =
                    slices.take_while(|slice| !slice.is_empty()).collect();
                stream.poll_write_vectored(cx, &slices)
            }
        })?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        // Counts the frames that have left whole; `sent` then is what has left of the next.
        let whole_frames = self.unsent.iter().take_while(|frame| {
            let is_whole = frame.len() <= sent;
            sent -= if is_whole { frame.len() } else { 0 };
            is_whole
        });
        let whole_count = whole_frames.count();
        self.unsent.drain(..whole_count);
        self.is_begun = sent > 0;
        if sent > 0 {
            let _ = self.unsent[0].split_to(sent);
        }
        if self.unsent.is_empty() {
            // Frees the memory of a long batch: most sessions are idle.
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
        let mut state = self.0.write_state.lock();
        ready!(state.poll_clear(cx))?;
        Pin::new(&mut state.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(&mut self.0.write_state.lock(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.write_state.lock();
        ready!(self.0.poll_flush(&mut state, cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}

/// The bytes of one write: one TLS record, and so little that even a slow client takes it
/// within the write timeout.
pub(crate) const MAX_WRITE_BYTES: usize = 16 * 1024;
/// The frames of one write.
const MAX_WRITE_FRAMES: usize = 64;

#[cfg(test)]
mod tests;
