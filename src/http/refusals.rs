//! Refusals by limits, one after the other on one connection: whoever goes on and on
//! after so many is not served by it any longer.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Counts the refusals of one connection since a request was last not refused.
#[derive(Debug, Default)]
pub struct Refusals {
    in_a_row: AtomicUsize,
    too_many: Notify,
}

impl Refusals {
    /// A request was refused by a limit, or was not.
    pub(super) fn note(&self, is_refused: bool) {
        if !is_refused {
            // Mostly it is zero already, and to write would cost more than to read.
            if self.in_a_row.load(Relaxed) > 0 {
                self.in_a_row.store(0, Relaxed);
            }
        } else if self.in_a_row.fetch_add(1, Relaxed) + 1 == MAX_IN_A_ROW {
            self.too_many.notify_one();
        }
    }

    /// Whether the connection is to end.
    pub(super) fn are_too_many(&self) -> bool {
        self.in_a_row.load(Relaxed) >= MAX_IN_A_ROW
    }

    /// Completes when the connection is to end. Cancel-safe.
    pub(super) async fn too_many(&self) {
        self.too_many.notified().await;
    }
}

/// More than a page asks for at once.
const MAX_IN_A_ROW: usize = 200;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_request_that_passes_begins_the_count_anew() {
        let refusals = Refusals::default();
        let refuse = |times| (0..times).for_each(|_| refusals.note(true));
        refuse(MAX_IN_A_ROW - 1);
        refusals.note(false);
        refuse(MAX_IN_A_ROW - 1);
        assert!(!refusals.are_too_many());
        assert!(refusals.too_many().now_or_never().is_none());
        refuse(1);
        assert!(refusals.are_too_many());
        assert!(refusals.too_many().now_or_never().is_some());
    }
}
