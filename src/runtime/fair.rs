//! Places that clients wait for in turn: not each request in the order in which it
//! came, or the queue of one client stands before everybody's.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A semaphore whose waiters are served by client, each in its turn. One client holds
/// half of it at most; those without a key count as one client, which may hold all.
/// Clones are one.
#[derive(Debug)]
pub struct FairSemaphore<K: Key>(Arc<Mutex<State<K>>>);

/// What clients are told apart by.
pub trait Key: Copy + Eq + Hash {}

impl<K: Copy + Eq + Hash> Key for K {}

#[derive(Debug)]
struct State<K: Key> {
    free: usize,
    most_each: usize,
    held: HashMap<K, usize>,
    /// Who waits, by client; nobody's queue is empty.
    queues: HashMap<Option<K>, VecDeque<oneshot::Sender<FairPermit<K>>>>,
    /// The clients of `queues`, the next one first.
    next: VecDeque<Option<K>>,
}

/// One place; given back on drop.
#[derive(Debug)]
pub struct FairPermit<K: Key> {
    key: Option<K>,
    /// None once it is given back.
    semaphore: Option<FairSemaphore<K>>,
}

impl<K: Key> Clone for FairSemaphore<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key> FairSemaphore<K> {
    /// So many places.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: places,
            most_each: places.div_ceil(2),
            held: HashMap::new(),
            queues: HashMap::new(),
            next: VecDeque::new(),
        })))
    }

    /// A place, if one is free that this client may have.
    pub fn try_acquire(&self, key: Option<K>) -> Option<FairPermit<K>> {
        // What is free while others wait is not for them.
        self.0.lock().take(key).then(|| self.turn(key))
    }

    /// A place in the client's turn. Cancel-safe.
    ///
    /// # Panics
    /// Never: a queue lasts as long as anybody waits in it.
    pub async fn acquire(&self, key: Option<K>) -> FairPermit<K> {
        let waiter = {
            let mut state = self.0.lock();
            if state.take(key) {
                return self.turn(key);
            }
            state.queue(key)
        };
        waiter.await.expect("a queue outlives who waits in it")
    }

    fn turn(&self, key: Option<K>) -> FairPermit<K> {
        FairPermit {
            key,
            semaphore: Some(self.clone()),
        }
    }

    /// Gives free places to those who wait for them.
    fn serve(&self, state: &mut State<K>) {
        let mut passed_over = 0;
        while state.free > 0 && passed_over < state.next.len() {
            let Some(key) = state.next.pop_front() else {
                return;
            };
            if !state.may_have(key) {
                // It holds as many as it may; there are two such clients at most.
                state.next.push_back(key);
                passed_over += 1;
                continue;
            }
            let queue = state.queues.get_mut(&key);
            let given = queue.is_some_and(|queue| self.give(queue, key));
            if given {
                state.take(key);
                passed_over = 0;
            }
            if state.queues.get(&key).is_some_and(VecDeque::is_empty) {
                state.queues.remove(&key);
            } else {
                state.next.push_back(key);
            }
        }
    }

    /// A turn to the first in `queue` who still waits.
    fn give(&self, queue: &mut VecDeque<oneshot::Sender<FairPermit<K>>>, key: Option<K>) -> bool {
        while let Some(waiter) = queue.pop_front() {
            match waiter.send(self.turn(key)) {
                Ok(()) => return true,
                // Nobody had it; the lock is held, so it must not give itself back.
                Err(mut turn) => turn.semaphore = None,
            }
        }
        false
    }
}

impl<K: Key> State<K> {
    fn may_have(&self, key: Option<K>) -> bool {
        let held = key.and_then(|key| self.held.get(&key));
        held.is_none_or(|held| *held < self.most_each)
    }

    fn take(&mut self, key: Option<K>) -> bool {
        if self.free == 0 {
            return false;
        }
        if let Some(key) = key {
            let held = self.held.entry(key).or_default();
            if *held >= self.most_each {
                return false;
            }
            *held += 1;
        }
        self.free -= 1;
        true
    }

    fn queue(&mut self, key: Option<K>) -> oneshot::Receiver<FairPermit<K>> {
        let (waiter, turn) = oneshot::channel();
        let queue = self.queues.entry(key).or_insert_with(|| {
            self.next.push_back(key);
            VecDeque::new()
        });
        if queue.len() == queue.capacity() {
            // Before it grows: those who have left need no room.
            queue.retain(|waiter| !waiter.is_closed());
        }
        queue.push_back(waiter);
        turn
    }

    fn give_back(&mut self, key: Option<K>) {
        self.free += 1;
        let Some(key) = key else { return };
        if let Entry::Occupied(mut held) = self.held.entry(key) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

impl<K: Key> Drop for FairPermit<K> {
    fn drop(&mut self) {
        if let Some(semaphore) = self.semaphore.take() {
            let mut state = semaphore.0.lock();
            state.give_back(self.key);
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

    /// Somebody who waits.
    fn waiting(
        semaphore: &FairSemaphore<u8>,
        key: Option<u8>,
    ) -> BoxFuture<'static, FairPermit<u8>> {
        let semaphore = semaphore.clone();
        let mut turn = async move { semaphore.acquire(key).await }.boxed();
        assert!((&mut turn).now_or_never().is_none());
        turn
    }

    #[test]
    fn queue_of_one_client_does_not_stand_before_another() {
        let semaphore = FairSemaphore::new(2);
        let mut held: Vec<_> = [1, 2].map(|n| semaphore.try_acquire(client(n))).into();
        let mut queue: Vec<_> = (0..100).map(|_| waiting(&semaphore, client(1))).collect();
        let mut late = waiting(&semaphore, client(3));
        held.remove(1);
        assert!((&mut queue[0]).now_or_never().is_none(), "it has its half");
        assert!((&mut late).now_or_never().is_some());
        // What it has given back is free for the first again.
        held.remove(0);
        let mut served = queue.iter_mut().map(|turn| turn.now_or_never().is_some());
        assert!(served.next().unwrap());
    }

    #[test]
    fn clients_that_wait_are_served_in_turn() {
        let semaphore = FairSemaphore::new(4);
        let mut held: Vec<_> = (1..=4).map(|n| semaphore.try_acquire(client(n))).collect();
        let mut first: Vec<_> = (0..2).map(|_| waiting(&semaphore, client(5))).collect();
        let mut second: Vec<_> = (0..2).map(|_| waiting(&semaphore, client(6))).collect();
        let mut got = Vec::new();
        for _ in 0..4 {
            held.pop();
            for (number, queue) in [(5, &mut first), (6, &mut second)] {
                if let Some(turn) = queue.first_mut().and_then(FutureExt::now_or_never) {
                    drop(queue.remove(0));
                    got.push((number, turn));
                }
            }
        }
        let order: Vec<_> = got.iter().map(|(number, _)| *number).collect();
        assert_eq!(order, [5, 6, 5, 6]);
        drop(got);
        let state = semaphore.0.lock();
        assert_eq!(state.free, 4);
        assert!(state.held.is_empty() && state.queues.is_empty() && state.next.is_empty());
    }

    #[test]
    fn client_holds_half_at_most_and_those_without_a_key_all() {
        let semaphore = FairSemaphore::new(5);
        let mut held: Vec<_> = (0..3).map(|_| semaphore.try_acquire(client(1))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(semaphore.try_acquire(client(1)).is_none());
        let others: Vec<_> = (0..2).map(|_| semaphore.try_acquire(None)).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(semaphore.try_acquire(None).is_none());
        held.clear();
        let all: Vec<_> = (0..3).map(|_| semaphore.try_acquire(None)).collect();
        assert!(all.iter().all(Option::is_some));
    }

    #[test]
    fn those_who_have_left_take_no_turn_and_no_room() {
        let semaphore = FairSemaphore::new(1);
        let held = semaphore.try_acquire(client(1));
        for _ in 0..10_000 {
            drop(waiting(&semaphore, client(2)));
        }
        assert!(semaphore.0.lock().queues[&client(2)].capacity() < 16);
        let mut stays = waiting(&semaphore, client(3));
        // It is given a place and leaves before it looks.
        let leaves = waiting(&semaphore, client(4));
        drop(held);
        let turn = (&mut stays).now_or_never();
        assert!(turn.is_some());
        drop(turn);
        drop(leaves);
        assert_eq!(semaphore.0.lock().free, 1);
        assert!(semaphore.0.lock().queues.is_empty());
    }
}
