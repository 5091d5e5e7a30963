//! The clock that hyper is given for the heads of requests: one timer for all that
//! come on a connection, where hyper would set one for each.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;

use crate::runtime::lazy_timer::LazyTimer;

/// For one connection, on which no two heads are waited for at once.
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

    /// The clock that tests may pause.
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
