//! Refusals by limits on one connection: whoever goes on and on after so many is not
//! served by it any longer.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Counts how many more requests of one connection were refused than were not. A client
/// that asks far more than it may has some that pass all the same.
#[derive(Debug, Default)]
pub struct RejectionCounter {
    surplus: AtomicUsize,
    too_many: Notify,
}

impl RejectionCounter {
    /// A request was refused by a limit, or was not.
    pub(super) fn record(&self, is_refused: bool) {
        let surplus = self.surplus.load(Relaxed);
        // Mostly nothing was refused, and to write would cost more than to read.
        if surplus >= MAX_SURPLUS || surplus == 0 && !is_refused {
            return;
        }
        let change = |surplus: usize| {
            if is_refused {
                Some(surplus + 1)
            } else {
                // Once there are too many that stays so.
                (surplus < MAX_SURPLUS).then(|| surplus.saturating_sub(1))
            }
        };
        let changed = self.surplus.fetch_update(Relaxed, Relaxed, change);
        if is_refused && changed.is_ok_and(|before| before + 1 >= MAX_SURPLUS) {
            self.too_many.notify_one();
        }
    }

    /// Whether the connection is to end.
    pub(super) fn is_exceeded(&self) -> bool {
        self.surplus.load(Relaxed) >= MAX_SURPLUS
    }

    /// Completes when the connection is to end. Cancel-safe.
    pub(super) async fn exceeded(&self) {
        self.too_many.notified().await;
    }
}

/// More than a page asks for at once.
const MAX_SURPLUS: usize = 200;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn client_that_asks_for_much_more_than_it_may_is_let_go() {
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
    async fn burst_of_a_page_is_forgotten() {
        let refusals = RejectionCounter::default();
        for _ in 0..10 {
            (1..MAX_SURPLUS).for_each(|_| refusals.record(true));
            (1..MAX_SURPLUS).for_each(|_| refusals.record(false));
        }
        assert!(!refusals.is_exceeded());
        assert!(refusals.exceeded().now_or_never().is_none());
    }
}
