//! One queue of deadlines for all rooms.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Things to be done at given times, earliest first.
#[derive(Debug)]
pub(super) struct Deadlines<T> {
    heap: Mutex<BinaryHeap<Reverse<Due<T>>>>,
    sooner: Notify,
}

#[derive(Debug)]
struct Due<T> {
    at: Instant,
    what: T,
}

impl<T> Deadlines<T> {
    pub(super) fn new() -> Self {
        Self {
            heap: Mutex::new(BinaryHeap::new()),
            sooner: Notify::new(),
        }
    }

    /// Notes that `what` is due at `at`.
    pub(super) fn add(&self, at: Instant, what: T) {
        let mut heap = self.heap.lock();
        let first = heap.peek().is_none_or(|Reverse(due)| at < due.at);
        heap.push(Reverse(Due { at, what }));
        if first {
            self.sooner.notify_one();
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.lock().len()
    }

    /// Waits for the next that is due. Cancel-safe; for one waiter.
    pub(super) async fn next(&self) -> T {
        loop {
            let due = self.heap.lock().peek().map(|Reverse(due)| due.at);
            match due {
                Some(at) if at <= Instant::now() => {
                    if let Some(Reverse(due)) = self.heap.lock().pop() {
                        return due.what;
                    }
                }
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_comes_first_even_if_it_was_added_last() {
        let deadlines = Deadlines::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        deadlines.add(at(8), "late");
        let (next, ()) = tokio::join!(deadlines.next(), async { deadlines.add(at(6), "soon") });
        assert_eq!((next, start.elapsed().as_secs()), ("soon", 6));
        assert_eq!(
            (deadlines.next().await, start.elapsed().as_secs()),
            ("late", 8)
        );
    }
}
