//! A request body with a minimum rate. A client that sends one byte now and then would
//! never be idle, and would hold its permits for ever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as _;
use tokio::time::{Instant, Sleep};

use crate::core::body::{Body, BodyFilter, FilteredBody, PolledFrame};

/// The minimum rate of a body: it may be waited for `grace` in all, and one second longer
/// for every `bytes_per_second` bytes that have arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MinRate {
    /// The wait that is allowed without a byte.
    pub(crate) grace: Duration,
    /// Bytes that earn one second of further waiting; 0 counts as 1.
    pub(crate) bytes_per_second: u64,
}

/// A body that fails with [`TooSlow`] once it falls below its [`MinRate`]. Only time spent
/// waiting for the sender counts, since a slow receiver is not the sender's fault.
pub(crate) type MinRateBody = FilteredBody<MinRateFilter>;

/// The filter of a [`MinRateBody`].
#[derive(Debug)]
pub(crate) struct MinRateFilter {
    min_rate: MinRate,
    bytes: u64,
    /// The time spent in earlier waits.
    waited: Duration,
    /// The beginning and the timer of the current wait.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// The error of a body that has fallen below its minimum rate.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request body came too slowly")]
pub(crate) struct TooSlow;

impl MinRateBody {
    /// Wraps `body`, which must keep `min_rate`.
    pub(crate) fn new(body: Body, min_rate: MinRate) -> Self {
        Self {
            body,
            filter: MinRateFilter {
                min_rate,
                bytes: 0,
                waited: Duration::ZERO,
                waiting: None,
            },
        }
    }
}

impl MinRateFilter {
    /// Returns the total wait that is allowed for the bytes so far.
    fn allowed_wait(&self) -> Duration {
        let earned_ms = self.bytes.saturating_mul(1000) / self.min_rate.bytes_per_second.max(1);
        self.min_rate
            .grace
            .saturating_add(Duration::from_millis(earned_ms))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.allowed_wait().saturating_sub(self.waited);
        let (_, timer) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep(left)))
        });
        timer.as_mut().poll(cx)
    }
}

impl BodyFilter for MinRateFilter {
    type Data = Bytes;

    fn poll_frame(&mut self, body: &mut Body, cx: &mut Context<'_>) -> PolledFrame {
        let polled = Pin::new(body).poll_frame(cx);
        if polled.is_pending() {
            return self.poll_timer(cx).map(|()| Some(Err(TooSlow.into())));
        }
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const PACE: MinRate = MinRate {
        grace: Duration::from_secs(10),
        bytes_per_second: 500,
    };

    /// `size` bytes every `gap`, `times` times; how it ended, and after how long.
    async fn sent(size: usize, gap: Duration, times: usize) -> (bool, Duration) {
        let pieces = futures_util::stream::iter(0..times).then(move |_| async move {
            tokio::time::sleep(gap).await;
            Ok(Frame::data(Bytes::from(vec![0; size])))
        });
        let start = Instant::now();
        let read = MinRateBody::new(BodyExt::boxed_unsync(StreamBody::new(pieces)), PACE).collect();
        (read.await.is_ok(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn body_below_the_min_rate_is_aborted() {
        let (whole, took) = sent(1, Duration::from_secs(1), 100).await;
        assert!(!whole);
        assert_eq!(took.as_secs(), 10);
        assert!(!sent(499, Duration::from_secs(1), 10_000).await.0);
    }

    #[tokio::test(start_paused = true)]
    async fn body_on_a_slow_network_passes() {
        assert!(sent(500, Duration::from_secs(1), 1000).await.0);
        assert!(sent(16_000, Duration::from_secs(9), 100).await.0);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_receiver_does_not_count_against_the_sender() {
        let pieces = futures_util::stream::iter((0..3).map(|_| Ok(Frame::data(Bytes::from("x")))));
        let mut body = MinRateBody::new(BodyExt::boxed_unsync(StreamBody::new(pieces)), PACE);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(body.frame().await.unwrap().is_ok());
        }
    }
}
