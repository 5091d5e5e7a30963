//! One timer queue for all rooms, so that an idle room or session costs no timer. A binary
//! heap behind a mutex, and one task that sleeps until the earliest deadline.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::runtime::sync::Mutex;

/// Items with the times at which they are due, earliest first.
#[derive(Debug)]
pub(super) struct Deadlines<T> {
    heap: Mutex<BinaryHeap<Reverse<Due<T>>>>,
    /// Wakes [`Deadlines::next`] when the earliest deadline changes.
    sooner: Notify,
}

/// An item of the heap, compared by its time alone.
#[derive(Debug)]
struct Due<T> {
    at: Instant,
    item: T,
}

impl<T> Deadlines<T> {
    /// Creates an empty queue.
    pub(super) fn new() -> Self {
        Self {
            heap: Mutex::new(BinaryHeap::new()),
            sooner: Notify::new(),
        }
    }

    /// Adds `item`, due at `at`.
    pub(super) fn add(&self, at: Instant, item: T) {
        let mut heap = self.heap.lock();
        let is_first = heap.peek().is_none_or(|Reverse(due)| at < due.at);
        heap.push(Reverse(Due { at, item }));
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Returns the number of items.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.lock().len()
    }

    /// Waits until an item is due and removes it. Cancel-safe. Only one task may wait: each
    /// change wakes one.
    pub(super) async fn next(&self) -> T {
        loop {
            let due = self.heap.lock().peek().map(|Reverse(due)| due.at);
            match due {
                Some(at) if at <= Instant::now() => {
                    if let Some(Reverse(due)) = self.heap.lock().pop() {
                        return due.item;
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
    async fn earliest_deadline_fires_first_even_if_added_last() {
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
