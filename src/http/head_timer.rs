//! hyper's timer for `header_read_timeout`. One [`LazyTimer`] serves all request heads of
//! a connection, where hyper's default would register a timer for each.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;

use crate::runtime::lazy_timer::LazyTimer;

/// The timer of one HTTP/1.1 connection. hyper waits for one head at a time, so the sleeps
/// that it creates can share one [`LazyTimer`], and the lock is never contended.
#[derive(Debug, Default)]
pub(super) struct HeadTimer(Arc<Mutex<LazyTimer>>);

#[derive(Debug)]
struct HeadDeadline {
    at: tokio::time::Instant,
    timer: Arc<Mutex<LazyTimer>>,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    #[expect(clippy::disallowed_types, reason = "hyper's clock")]
    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadDeadline {
            at: deadline.into(),
            timer: Arc::clone(&self.0),
        })
    }

    /// Returns tokio's time, which tests can pause.
    #[expect(clippy::disallowed_types, reason = "hyper's clock")]
    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into()
    }
}

impl Sleep for HeadDeadline {}

impl Future for HeadDeadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.lock().poll_until(self.at, cx)
    }
}
