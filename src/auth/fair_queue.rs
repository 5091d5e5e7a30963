//! Who may ask Laravel next: a bound on the requests under way, and a queue before it
//! in which no client stands before the others.
//!
//! Urgent requests come first: those that confirm a right after a doubt, and the last
//! one of an upload. They leave one place to the rest. Within each class clients take
//! turns, and so do the tokens of one client. While others wait, no client and no token
//! holds more than half of the places; alone it may hold all but one, so that a newcomer
//! finds a place. This holds for urgent requests too: a client can cast doubt on its own
//! token as often as it likes.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::TokenHash;
use crate::core::client::ClientKey;

/// How soon a request to Laravel is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A log-in, a join or a periodic check.
    Routine,
    /// A right may have ended, and holds until this is answered.
    Urgent,
}

/// The client and the token of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) client: ClientKey,
    pub(super) token: TokenHash,
}

/// The queue. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub(super) struct FairQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    capacity: usize,
    running: usize,
    urgent_running: usize,
    was_urgent: bool,
    /// When a request last got its place.
    moved: Instant,
    /// Requests under way, by client and by token.
    by_client: HashMap<ClientKey, usize>,
    by_token: HashMap<TokenHash, usize>,
    urgent: RoundRobin<ClientKey, RoundRobin<TokenHash, Waiters>>,
    routine: RoundRobin<ClientKey, RoundRobin<TokenHash, Waiters>>,
}

/// Why a request is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueueError {
    /// Its client, or all together, have too many there.
    #[error("too many requests to Laravel wait already")]
    Full,
    /// No request has got its place for [`QUEUE_TIMEOUT`].
    #[error("Laravel does not keep up with the requests that wait for it")]
    Timeout,
}

/// The right to one request; dropped, it goes to the next in the queue.
#[derive(Debug)]
pub(super) struct QueuePermit {
    /// None once the place has been given back by other means.
    queue: Option<FairQueue>,
    owner: Owner,
    urgency: Urgency,
}

impl FairQueue {
    /// A queue before `capacity` places.
    pub(super) fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            capacity,
            running: 0,
            urgent_running: 0,
            was_urgent: false,
            moved: Instant::now(),
            by_client: HashMap::new(),
            by_token: HashMap::new(),
            urgent: RoundRobin::default(),
            routine: RoundRobin::default(),
        })))
    }

    /// Waits for a place. Cancel-safe: a waiter that has gone is passed over.
    ///
    /// # Errors
    /// `Full` if the queue is, `Timeout` if it has not moved for [`QUEUE_TIMEOUT`].
    pub(super) async fn acquire(
        &self,
        owner: Owner,
        urgency: Urgency,
    ) -> Result<QueuePermit, QueueError> {
        let (waiter, mut place) = oneshot::channel();
        {
            let mut state = self.0.lock();
            let line = state.queue_of(urgency);
            if line.len >= MAX_WAITING || line.len_of(&owner.client) >= MAX_WAITING_PER_CLIENT {
                return Err(QueueError::Full);
            }
            line.push(owner, waiter);
            state.dispatch(self);
        }
        loop {
            match tokio::time::timeout(QUEUE_TIMEOUT, &mut place).await {
                Ok(Ok(place)) => return Ok(place),
                // It moves on, so this one has its turn, however long the queue is.
                Err(_) if self.0.lock().moved.elapsed() < QUEUE_TIMEOUT => {}
                // The queue outlives its waiters: they hold it.
                Ok(Err(_)) | Err(_) => return Err(QueueError::Timeout),
            }
        }
    }
}

impl State {
    fn queue_of(
        &mut self,
        urgency: Urgency,
    ) -> &mut RoundRobin<ClientKey, RoundRobin<TokenHash, Waiters>> {
        match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::Routine => &mut self.routine,
        }
    }

    /// Gives free places to those whose turn it is.
    fn dispatch(&mut self, queue: &FairQueue) {
        while self.running < self.capacity {
            let Some((owner, urgency, waiter)) = self.next() else {
                return;
            };
            self.begin(owner, urgency);
            let place = QueuePermit {
                queue: Some(queue.clone()),
                owner,
                urgency,
            };
            if let Err(mut unwanted) = waiter.send(place) {
                // Its drop would lock the queue, which is locked.
                unwanted.queue = None;
                self.finish(owner, urgency);
            }
        }
    }

    fn next(&mut self) -> Option<(Owner, Urgency, Waiter)> {
        let may_be_urgent = self.may_be_urgent();
        let (client_share, token_share) = self.shares();
        let (by_client, by_token) = (&self.by_client, &self.by_token);
        let may_client = |client: &ClientKey| below(by_client, client, client_share);
        let may_token = |token: &TokenHash| below(by_token, token, token_share);
        if may_be_urgent && let Some((owner, waiter)) = self.urgent.pop(may_client, may_token) {
            return Some((owner, Urgency::Urgent, waiter));
        }
        let (owner, waiter) = self.routine.pop(may_client, may_token)?;
        Some((owner, Urgency::Routine, waiter))
    }

    /// How many places a client and a token may hold, as long as those wait that wait now.
    fn shares(&self) -> (usize, usize) {
        let half = (self.capacity / 2).max(1);
        let alone = self.capacity.saturating_sub(1).max(1);
        let mut lines = [&self.urgent, &self.routine].into_iter();
        let mut clients = lines.clone().flat_map(|line| line.order.iter());
        let first = clients.next();
        if !clients.all(|client| Some(client) == first) {
            return (half, half);
        }
        let tokens = lines.all(|line| line.waiting.values().all(|turns| turns.order.len() <= 1));
        (alone, if tokens { alone } else { half })
    }

    /// Urgent requests leave one place to the others, or every second turn of one place.
    fn may_be_urgent(&self) -> bool {
        if self.routine.len == 0 {
            true
        } else if self.capacity == 1 {
            !self.was_urgent
        } else {
            self.capacity - self.urgent_running > 1
        }
    }

    fn begin(&mut self, owner: Owner, urgency: Urgency) {
        self.running += 1;
        self.was_urgent = urgency == Urgency::Urgent;
        self.moved = Instant::now();
        *self.by_client.entry(owner.client).or_default() += 1;
        *self.by_token.entry(owner.token).or_default() += 1;
        if urgency == Urgency::Urgent {
            self.urgent_running += 1;
        }
    }

    fn finish(&mut self, owner: Owner, urgency: Urgency) {
        self.running -= 1;
        decrement(&mut self.by_client, &owner.client);
        decrement(&mut self.by_token, &owner.token);
        if urgency == Urgency::Urgent {
            self.urgent_running -= 1;
        }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            let mut state = queue.0.lock();
            state.finish(self.owner, self.urgency);
            state.dispatch(&queue);
        }
    }
}

fn below<K: Eq + Hash>(counts: &HashMap<K, usize>, key: &K, share: usize) -> bool {
    counts.get(key).is_none_or(|count| *count < share)
}

fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

type Waiter = oneshot::Sender<QueuePermit>;

/// What waits for one token, oldest first.
type Waiters = VecDeque<Waiter>;

/// Keys that take turns, each with what waits for it.
#[derive(Debug)]
struct RoundRobin<K, V> {
    waiting: HashMap<K, V>,
    /// Each key of `waiting` once.
    order: VecDeque<K>,
    /// All that waits below.
    len: usize,
}

impl<K, V> Default for RoundRobin<K, V> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Default> RoundRobin<K, V> {
    fn entry(&mut self, key: K) -> &mut V {
        self.len += 1;
        self.waiting.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            V::default()
        })
    }

    /// Lets the first key whose turn it is, and that `may`, give what `take` finds. The
    /// key then goes to the end, or away if it `is_empty`.
    fn take<T>(
        &mut self,
        may: impl Fn(&K) -> bool,
        mut take: impl FnMut(&mut V) -> Option<T>,
        is_empty: impl Fn(&V) -> bool,
    ) -> Option<(K, T)> {
        for at in 0..self.order.len() {
            let key = self.order[at];
            if !may(&key) {
                continue;
            }
            let Some(value) = self.waiting.get_mut(&key) else {
                continue;
            };
            let Some(taken) = take(value) else {
                continue;
            };
            self.len -= 1;
            self.order.remove(at);
            if is_empty(value) {
                self.waiting.remove(&key);
            } else {
                self.order.push_back(key);
            }
            return Some((key, taken));
        }
        None
    }
}

impl RoundRobin<ClientKey, RoundRobin<TokenHash, Waiters>> {
    fn push(&mut self, owner: Owner, waiter: Waiter) {
        let of_token = self.entry(owner.client).entry(owner.token);
        of_token.push_back(waiter);
    }

    fn len_of(&self, client: &ClientKey) -> usize {
        self.waiting.get(client).map_or(0, |turns| turns.len)
    }

    fn pop(
        &mut self,
        may_client: impl Fn(&ClientKey) -> bool,
        may_token: impl Fn(&TokenHash) -> bool,
    ) -> Option<(Owner, Waiter)> {
        let (client, (token, waiter)) = self.take(
            may_client,
            |of_client| of_client.take(&may_token, VecDeque::pop_front, VecDeque::is_empty),
            |of_client| of_client.len == 0,
        )?;
        Some((Owner { client, token }, waiter))
    }
}

/// How long a request waits for its place while no other gets one. Laravel hangs then.
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests that wait, of each class: a waiter takes about 200 bytes.
const MAX_WAITING: usize = 16_384;
/// The share of one client: an office of 200 that comes back with up to 20 rooms each.
const MAX_WAITING_PER_CLIENT: usize = 4096;

#[cfg(test)]
mod tests;
