//! The tasks of HTTP/2 streams, with a timeout for responses that the client does not
//! read. hyper polls the body of a response only while the stream's window is open, so
//! the body itself cannot notice that it is stuck. The task can: it drops hyper's future,
//! and with it all that the stream holds.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;

use crate::runtime::activity::{ActivityTracker, SendClock, SendTimer};
use crate::runtime::drain::Drain;

/// The executor for the streams of one connection. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    drain: Drain,
    limit: Duration,
    /// The clock of the request that hyper has just passed to the service. In the same
    /// poll, before it takes another request, hyper spawns the task of its stream, which
    /// takes the clock.
    next_clock: Mutex<Option<Arc<SendClock>>>,
}

impl Streams {
    /// Creates an executor that resets a stream whose client makes no progress in reading
    /// its response for `limit`.
    pub(super) fn new(drain: Drain, limit: Duration) -> Self {
        Self(Arc::new(Inner {
            drain,
            limit,
            next_clock: Mutex::new(None),
        }))
    }

    /// Returns the clock of a new request; the next task belongs to it.
    pub(super) fn begin(&self, activity: &ActivityTracker) -> Arc<SendClock> {
        let clock = Arc::new(SendClock::new(activity.clone()));
        *self.0.next_clock.lock() = Some(Arc::clone(&clock));
        clock
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Some(clock) = self.0.next_clock.lock().take() else {
            drop(self.0.drain.spawn(stream));
            return;
        };
        let limit = self.0.limit;
        let (mut stream, mut timer) = (Box::pin(stream), SendTimer::default());
        drop(self.0.drain.spawn(poll_fn(move |cx| {
            match stream.as_mut().poll(cx) {
                // When the clock expires, the task ends and drops the stream unfinished.
                // h2 then resets it (RFC 9113 §5.4.2) and frees its buffers.
                Poll::Pending => clock.poll_expired(&mut timer, limit, cx),
                ready => ready,
            }
        })));
    }
}
