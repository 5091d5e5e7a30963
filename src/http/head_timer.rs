//! hyper's timer for `header_read_timeout`. One [`LazyTimer`] serves all request heads of
//! a connection, where hyper's default would register a timer for each.
//!
//! hyper starts the timeout when the last response has been sent, so it would end idle
//! connections too, which have a timeout of their own. Here it runs from the first byte of
//! a head; only for the first head it runs from the start of the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::keep_alive::ConnActivity;
use crate::runtime::lazy_timer::LazyTimer;

/// The timer of one HTTP/1.1 connection. hyper waits for one head at a time, so the sleeps
/// that it creates can share one [`LazyTimer`], and the lock is never contended.
#[derive(Debug)]
pub(super) struct HeadTimer {
    timeout: Duration,
    activity: Arc<ConnActivity>,
    /// Whether hyper has waited for a head before.
    has_waited: AtomicBool,
    timer: Arc<Mutex<LazyTimer>>,
}

#[derive(Debug)]
struct HeadDeadline {
    timeout: Duration,
    /// None until the first byte of the head was read.
    due: Option<Instant>,
    activity: Arc<ConnActivity>,
    timer: Arc<Mutex<LazyTimer>>,
}

impl HeadTimer {
    /// Creates a timer for heads that may take `timeout`. `activity` records when the first
    /// byte of a head was read.
    pub(super) fn new(timeout: Duration, activity: Arc<ConnActivity>) -> Self {
        Self {
            timeout,
            activity,
            has_waited: AtomicBool::new(false),
            timer: Arc::default(),
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    #[expect(clippy::disallowed_types, reason = "hyper's clock")]
    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        let is_first = !self.has_waited.swap(true, Relaxed);
        if !is_first {
            self.activity.await_head();
        }
        Box::pin(HeadDeadline {
            timeout: self.timeout,
            due: is_first.then(|| deadline.into()),
            activity: Arc::clone(&self.activity),
            timer: Arc::clone(&self.timer),
        })
    }

    /// Returns tokio's time, which tests can pause.
    #[expect(clippy::disallowed_types, reason = "hyper's clock")]
    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

impl Sleep for HeadDeadline {}

impl Future for HeadDeadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // hyper polls this after each read that has not completed the head, so no waker is
        // needed before the first byte.
        if self.due.is_none() && self.activity.is_reading_head() {
            self.due = Some(Instant::now() + self.timeout);
        }
        match self.due {
            Some(due) => self.timer.lock().poll_until(due, cx),
            None => Poll::Pending,
        }
    }
}
