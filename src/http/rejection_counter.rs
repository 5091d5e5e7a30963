//! The count of requests that limits have rejected on one connection. A connection whose
//! client keeps sending far above its limits is closed.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Counts how many more requests of a connection were rejected than admitted. The surplus
/// counts, and not the rejections in a row: a limit admits some requests even of a client
/// that is far above it.
#[derive(Debug, Default)]
pub(crate) struct RejectionCounter {
    surplus: AtomicUsize,
    too_many: Notify,
}

impl RejectionCounter {
    /// Records a request that a limit has rejected or admitted.
    pub(super) fn record(&self, is_rejected: bool) {
        let surplus = self.surplus.load(Relaxed);
        // The common case, nothing rejected, only reads: a write would contend for the
        // cache line among the streams of the connection.
        if surplus >= MAX_SURPLUS || surplus == 0 && !is_rejected {
            return;
        }
        let change = |surplus: usize| {
            if is_rejected {
                Some(surplus + 1)
            } else {
                // The maximum is final: the connection is closing.
                (surplus < MAX_SURPLUS).then(|| surplus.saturating_sub(1))
            }
        };
        let changed = self.surplus.fetch_update(Relaxed, Relaxed, change);
        // Wakes the driver of the connection. `notify_one` keeps the wake-up if the driver
        // does not wait yet.
        if is_rejected && changed.is_ok_and(|before| before + 1 >= MAX_SURPLUS) {
            self.too_many.notify_one();
        }
    }

    /// Returns whether the connection must be closed.
    pub(super) fn is_exceeded(&self) -> bool {
        self.surplus.load(Relaxed) >= MAX_SURPLUS
    }

    /// Completes when the connection must be closed. Cancel-safe; for one waiter.
    pub(super) async fn exceeded(&self) {
        self.too_many.notified().await;
    }
}

/// The surplus at which a connection is closed; more than a page requests at once.
const MAX_SURPLUS: usize = 200;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn rejections_far_above_the_limit_are_too_many() {
        let refusals = RejectionCounter::default();
        for _ in 0..MAX_SURPLUS / 10 {
            assert!(!refusals.is_exceeded());
            // As a limit lets some pass.
            refusals.record(false);
            (0..11).for_each(|_| refusals.record(true));
        }
        assert!(refusals.is_exceeded());
        assert!(refusals.exceeded().now_or_never().is_some());
        refusals.record(false);
        assert!(refusals.is_exceeded(), "it is told already");
    }

    #[tokio::test]
    async fn rejections_in_a_burst_are_forgiven_by_later_requests() {
        let refusals = RejectionCounter::default();
        for _ in 0..10 {
            (1..MAX_SURPLUS).for_each(|_| refusals.record(true));
            (1..MAX_SURPLUS).for_each(|_| refusals.record(false));
        }
        assert!(!refusals.is_exceeded());
        assert!(refusals.exceeded().now_or_never().is_none());
    }
}
