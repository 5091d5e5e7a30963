//! A semaphore with one queue per client, served round-robin. With a single FIFO queue,
//! one client with many waiting requests would delay every other client.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A semaphore that serves its waiting clients round-robin.
///
/// One client holds at most half of the permits, rounded up. Waiters without a key count
/// as one client, which may hold all of them. Clones share the same permits.
#[derive(Debug)]
pub(crate) struct FairSemaphore<K: Key>(Arc<Mutex<State<K>>>);

/// A key that identifies a client.
pub(crate) trait Key: Copy + Eq + Hash {}

impl<K: Copy + Eq + Hash> Key for K {}

#[derive(Debug)]
// One lock guards the whole state. Nothing is awaited and no permit is dropped under it:
// `FairPermit::drop` takes the lock itself, and it is not reentrant.
struct State<K: Key> {
    free: usize,
    max_per_key: usize,
    /// Permits that each client holds; there are no entries of zero.
    in_use: HashMap<K, usize>,
    /// The waiters of each client. No queue is empty, but some of its waiters may have
    /// been cancelled.
    queues: HashMap<Option<K>, VecDeque<oneshot::Sender<FairPermit<K>>>>,
    /// The keys of `queues`, each once, in the order in which they are served.
    order: VecDeque<Option<K>>,
}

/// One permit, released on drop.
#[derive(Debug)]
pub(crate) struct FairPermit<K: Key> {
    key: Option<K>,
    /// `None` once the permit is void, so that its drop releases nothing.
    semaphore: Option<FairSemaphore<K>>,
}

impl<K: Key> Clone for FairSemaphore<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key> FairSemaphore<K> {
    /// Creates a semaphore with `permits` free permits.
    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: permits,
            max_per_key: permits.div_ceil(2),
            in_use: HashMap::new(),
            queues: HashMap::new(),
            order: VecDeque::new(),
        })))
    }

    /// Returns a permit, or `None` if none is free or the client holds its maximum.
    pub(crate) fn try_acquire(&self, key: Option<K>) -> Option<FairPermit<K>> {
        // This overtakes no waiter. Every release serves the queues, so a permit is free
        // beside waiting clients only if all of these hold their maximum.
        self.0.lock().take(key).then(|| self.permit(key))
    }

    /// Waits for a permit in the queue of the client, unless one is free for it already.
    ///
    /// Cancel-safe: a dropped future leaves its place in the queue, and a permit that was
    /// sent to it already is released.
    ///
    /// # Panics
    /// Never: the state, and in it the sender of each waiter, lives as long as `self`.
    pub(crate) async fn acquire(&self, key: Option<K>) -> FairPermit<K> {
        let granted = {
            let mut state = self.0.lock();
            if state.take(key) {
                return self.permit(key);
            }
            state.enqueue(key)
        };
        granted.await.expect("the queue outlives its waiters")
    }

    /// Makes a permit of what was taken from the state.
    fn permit(&self, key: Option<K>) -> FairPermit<K> {
        FairPermit {
            key,
            semaphore: Some(self.clone()),
        }
    }

    /// Hands free permits to waiters, one client after the other. Every release calls it,
    /// so a releasing task wakes the tasks that get its permit.
    fn serve(&self, state: &mut State<K>) {
        // Ends when a whole round has found only clients that hold their maximum.
        let mut passed_over = 0;
        while state.free > 0 && passed_over < state.order.len() {
            let Some(key) = state.order.pop_front() else {
                return;
            };
            if !state.has_room_for(key) {
                // At most two clients can hold half of the permits each.
                state.order.push_back(key);
                passed_over += 1;
                continue;
            }
            let queue = state.queues.get_mut(&key);
            let is_granted = queue.is_some_and(|queue| self.grant_to_first(queue, key));
            if is_granted {
                state.take(key);
                passed_over = 0;
            }
            if state.queues.get(&key).is_some_and(VecDeque::is_empty) {
                state.queues.remove(&key);
            } else {
                state.order.push_back(key);
            }
        }
    }

    /// Sends a permit to the first waiter in `queue` that has not been cancelled, and
    /// removes it and those before it. Returns false if there is none.
    fn grant_to_first(
        &self,
        queue: &mut VecDeque<oneshot::Sender<FairPermit<K>>>,
        key: Option<K>,
    ) -> bool {
        while let Some(waiter) = queue.pop_front() {
            match waiter.send(self.permit(key)) {
                Ok(()) => return true,
                // The permit came back and was not counted yet. Dropping it would take
                // the lock, which the caller holds: a deadlock.
                Err(mut permit) => permit.semaphore = None,
            }
        }
        false
    }
}

impl<K: Key> State<K> {
    fn has_room_for(&self, key: Option<K>) -> bool {
        let in_use = key.and_then(|key| self.in_use.get(&key));
        in_use.is_none_or(|count| *count < self.max_per_key)
    }

    /// Counts one more permit of the client; false if it cannot have one.
    fn take(&mut self, key: Option<K>) -> bool {
        if self.free == 0 {
            return false;
        }
        if let Some(key) = key {
            let in_use = self.in_use.entry(key).or_default();
            if *in_use >= self.max_per_key {
                return false;
            }
            *in_use += 1;
        }
        self.free -= 1;
        true
    }

    fn enqueue(&mut self, key: Option<K>) -> oneshot::Receiver<FairPermit<K>> {
        let (waiter, granted) = oneshot::channel();
        let queue = self.queues.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            VecDeque::new()
        });
        if queue.len() == queue.capacity() {
            // Cancelled waiters are removed before the queue grows, so its capacity
            // follows the number of live ones.
            queue.retain(|waiter| !waiter.is_closed());
        }
        queue.push_back(waiter);
        granted
    }

    fn release(&mut self, key: Option<K>) {
        self.free += 1;
        let Some(key) = key else { return };
        if let Entry::Occupied(mut in_use) = self.in_use.entry(key) {
            *in_use.get_mut() -= 1;
            if *in_use.get() == 0 {
                in_use.remove();
            }
        }
    }
}

impl<K: Key> Drop for FairPermit<K> {
    fn drop(&mut self) {
        if let Some(semaphore) = self.semaphore.take() {
            let mut state = semaphore.0.lock();
            state.release(self.key);
            semaphore.serve(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    fn client(number: u8) -> Option<u8> {
        Some(number)
    }

    /// Returns a future that waits for a permit.
    fn waiting(
        semaphore: &FairSemaphore<u8>,
        key: Option<u8>,
    ) -> BoxFuture<'static, FairPermit<u8>> {
        let semaphore = semaphore.clone();
        let mut waiter = async move { semaphore.acquire(key).await }.boxed();
        assert!((&mut waiter).now_or_never().is_none());
        waiter
    }

    #[test]
    fn queue_of_one_client_does_not_block_another() {
        let semaphore = FairSemaphore::new(2);
        let mut permits: Vec<_> = [1, 2].map(|n| semaphore.try_acquire(client(n))).into();
        let mut queue: Vec<_> = (0..100).map(|_| waiting(&semaphore, client(1))).collect();
        let mut late = waiting(&semaphore, client(3));
        permits.remove(1);
        assert!((&mut queue[0]).now_or_never().is_none(), "it has its half");
        assert!((&mut late).now_or_never().is_some());
        // A permit that it has released is free for the first client again.
        permits.remove(0);
        let mut served = queue
            .iter_mut()
            .map(|permit| permit.now_or_never().is_some());
        assert!(served.next().unwrap());
    }

    #[test]
    fn waiting_clients_are_served_in_turn() {
        let semaphore = FairSemaphore::new(4);
        let mut permits: Vec<_> = (1..=4).map(|n| semaphore.try_acquire(client(n))).collect();
        let mut first: Vec<_> = (0..2).map(|_| waiting(&semaphore, client(5))).collect();
        let mut second: Vec<_> = (0..2).map(|_| waiting(&semaphore, client(6))).collect();
        let mut got = Vec::new();
        for _ in 0..4 {
            permits.pop();
            for (number, queue) in [(5, &mut first), (6, &mut second)] {
                if let Some(permit) = queue.first_mut().and_then(FutureExt::now_or_never) {
                    drop(queue.remove(0));
                    got.push((number, permit));
                }
            }
        }
        let order: Vec<_> = got.iter().map(|(number, _)| *number).collect();
        assert_eq!(order, [5, 6, 5, 6]);
        drop(got);
        let state = semaphore.0.lock();
        assert_eq!(state.free, 4);
        assert!(state.in_use.is_empty() && state.queues.is_empty() && state.order.is_empty());
    }

    #[test]
    fn client_with_a_key_holds_at_most_half_of_the_permits() {
        let semaphore = FairSemaphore::new(5);
        let mut permits: Vec<_> = (0..3).map(|_| semaphore.try_acquire(client(1))).collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(semaphore.try_acquire(client(1)).is_none());
        let others: Vec<_> = (0..2).map(|_| semaphore.try_acquire(None)).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(semaphore.try_acquire(None).is_none());
        permits.clear();
        let all: Vec<_> = (0..3).map(|_| semaphore.try_acquire(None)).collect();
        assert!(all.iter().all(Option::is_some));
    }

    #[test]
    fn cancelled_waiters_take_no_turn_and_no_memory() {
        let semaphore = FairSemaphore::new(1);
        let permit = semaphore.try_acquire(client(1));
        for _ in 0..10_000 {
            drop(waiting(&semaphore, client(2)));
        }
        assert!(semaphore.0.lock().queues[&client(2)].capacity() < 16);
        let mut stays = waiting(&semaphore, client(3));
        // This one is sent a permit and is cancelled before it is polled.
        let leaves = waiting(&semaphore, client(4));
        drop(permit);
        let permit = (&mut stays).now_or_never();
        assert!(permit.is_some());
        drop(permit);
        drop(leaves);
        assert_eq!(semaphore.0.lock().free, 1);
        assert!(semaphore.0.lock().queues.is_empty());
    }
}
