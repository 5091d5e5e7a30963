//! The state of the ACME client's orders, which it shares with the reports and the reload.

use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The failure of the last order, if it failed, and the request to retry it now.
#[derive(Debug, Default)]
pub(super) struct OrderStatus {
    failure: Mutex<Option<OrderFailure>>,
    retry: Notify,
}

/// A failed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderFailure {
    /// The error with its causes.
    pub(crate) error: String,
    /// The time of the next attempt.
    pub(crate) retry_at: SystemTime,
}

impl OrderStatus {
    /// Records the result of the last order; `None` if it succeeded, or none is needed.
    pub(super) fn record(&self, failure: Option<OrderFailure>) {
        *self.failure.lock() = failure;
    }

    /// Returns the failure of the last order, if it failed.
    pub(super) fn failure(&self) -> Option<OrderFailure> {
        self.failure.lock().clone()
    }

    /// Ends the pause before the next attempt, if the ACME client is in one.
    pub(super) fn retry_now(&self) {
        self.retry.notify_waiters();
    }

    /// Waits until [`Self::retry_now`] is called. Calls before the first poll do not count.
    pub(super) async fn retry_requested(&self) {
        self.retry.notified().await;
    }
}
