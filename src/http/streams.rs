//! The tasks of an HTTP/2 connection's streams. hyper polls the body of a response
//! only while its stream's window is open, so a body cannot notice that nobody takes
//! it. The task can: it ends hyper's future, and with it all that the stream holds.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;

use crate::runtime::activity::{ActivityTracker, SendClock, SendTimer};
use crate::runtime::drain::Drain;

/// Runs the streams of one connection. Clones are one.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    drain: Drain,
    limit: Duration,
    /// The clock of the request that hyper has just handed over: it starts the
    /// stream's task next.
    next: Mutex<Option<Arc<SendClock>>>,
}

impl Streams {
    /// Streams whose clients have `limit` to take what is sent to them.
    pub(super) fn new(drain: Drain, limit: Duration) -> Self {
        Self(Arc::new(Inner {
            drain,
            limit,
            next: Mutex::new(None),
        }))
    }

    /// The clock of a request that has come; its task is the next one.
    pub(super) fn begin(&self, activity: &ActivityTracker) -> Arc<SendClock> {
        let clock = Arc::new(SendClock::new(activity.clone()));
        *self.0.next.lock() = Some(Arc::clone(&clock));
        clock
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Some(clock) = self.0.next.lock().take() else {
            drop(self.0.drain.spawn(stream));
            return;
        };
        let limit = self.0.limit;
        let (mut stream, mut timer) = (Box::pin(stream), SendTimer::default());
        drop(self.0.drain.spawn(poll_fn(move |cx| {
            match stream.as_mut().poll(cx) {
                // Dropped unfinished, it is reset (RFC 9113 §5.4.2), and what waits in
                // h2's buffers goes.
                Poll::Pending => clock.poll_expired(&mut timer, limit, cx),
                ready => ready,
            }
        })));
    }
}
