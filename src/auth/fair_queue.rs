//! A fair queue to Laravel: an adaptive bound on the requests under way, and a round robin
//! over the clients and their credentials in front of it.
//!
//! Urgent requests come first: those that confirm a right after an invalidation, and the last
//! one of an upload. They leave one place to the others. Of these, most places go to renewals:
//! rights that Laravel granted lately, such as those of members who return. While others wait,
//! no client and no credential holds more than half of the places. Alone it may hold all but one,
//! so that a new client finds a place. This holds for urgent requests, too: a client can
//! invalidate its own credential as often as it likes.
//!
//! One lock guards the state. A permit is sent to its waiter under it; a waiter that is gone
//! returns the permit there and then, so no place is lost.

mod adaptive_limit;
mod round_robin;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::adaptive_limit::AdaptiveLimit;
use self::round_robin::{ClientQueue, Waiter};
use super::CredentialHash;
use crate::core::client_ip::ClientKey;

/// The class of a request to Laravel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// A login, a join or a periodic revalidation.
    Routine,
    /// The same about a right that Laravel granted the last time.
    Renewal,
    /// A right may have ended, and holds until the response.
    Urgent,
}

/// The client and the credential that a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) client: ClientKey,
    pub(super) credential: CredentialHash,
}

/// The queue. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(super) struct FairQueue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The maximum of `running`.
    limit: AdaptiveLimit,
    /// The requests under way.
    running: usize,
    /// The urgent ones among them.
    urgent_running: usize,
    /// Whether the request that last got a place was urgent.
    was_urgent: bool,
    /// The renewals that got a place since a routine request did.
    renewals: usize,
    /// The time at which a request last got a place.
    moved: Instant,
    /// The requests under way, by client and by credential.
    by_client: HashMap<ClientKey, usize>,
    by_credential: HashMap<CredentialHash, usize>,
    urgent: ClientQueue,
    renewal: ClientQueue,
    routine: ClientQueue,
}

/// The reason why a request gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueueError {
    /// Its client, or all clients together, have too many requests in the queue.
    #[error("too many requests to Laravel wait already")]
    Full,
    /// No request has got a place for [`QUEUE_TIMEOUT`].
    #[error("Laravel does not keep up with the requests that wait for it")]
    Timeout,
}

/// What the result of a request says about the load of Laravel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Laravel responded.
    Responded,
    /// Laravel failed, or did not respond.
    Failed,
    /// Nothing.
    Unknown,
}

/// The right to one request. Dropped, its place goes to the next waiter.
#[derive(Debug)]
pub(super) struct QueuePermit {
    /// None once the place has been returned without a drop.
    queue: Option<FairQueue>,
    owner: Owner,
    urgency: Urgency,
    since: Instant,
    outcome: Outcome,
}

impl QueuePermit {
    /// Returns the place, and adapts the number of places to `outcome` and to the time that
    /// the request took.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl FairQueue {
    /// Creates a queue in front of up to `max` places.
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit: AdaptiveLimit::new(max),
            running: 0,
            urgent_running: 0,
            was_urgent: false,
            renewals: 0,
            moved: Instant::now(),
            by_client: HashMap::new(),
            by_credential: HashMap::new(),
            urgent: ClientQueue::default(),
            renewal: ClientQueue::default(),
            routine: ClientQueue::default(),
        })))
    }

    /// Waits for a place. Cancel-safe: a waiter that is gone is skipped.
    ///
    /// # Errors
    /// `Full` if the queue is, `Timeout` if it has not moved for [`QUEUE_TIMEOUT`].
    pub(super) async fn acquire(
        &self,
        owner: Owner,
        urgency: Urgency,
    ) -> Result<QueuePermit, QueueError> {
        let (waiter, mut permit_receiver) = oneshot::channel();
        {
            let mut state = self.0.lock();
            let queue = state.queue_of(urgency);
            if queue.len >= MAX_WAITING || queue.len_of(&owner.client) >= MAX_WAITING_PER_CLIENT {
                return Err(QueueError::Full);
            }
            queue.push(owner, waiter);
            state.dispatch(self);
        }
        loop {
            match tokio::time::timeout(QUEUE_TIMEOUT, &mut permit_receiver).await {
                Ok(Ok(permit)) => return Ok(permit),
                // The queue moves, so this request gets its place, however long that takes.
                Err(_) if self.0.lock().moved.elapsed() < QUEUE_TIMEOUT => {}
                // The queue outlives its waiters: they hold it.
                Ok(Err(_)) | Err(_) => return Err(QueueError::Timeout),
            }
        }
    }
}

impl State {
    /// Returns the queue of a class.
    fn queue_of(&mut self, urgency: Urgency) -> &mut ClientQueue {
        match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::Renewal => &mut self.renewal,
            Urgency::Routine => &mut self.routine,
        }
    }

    /// Gives the free places to the next waiters.
    fn dispatch(&mut self, queue: &FairQueue) {
        while self.running < self.limit.get() {
            let Some((owner, urgency, waiter)) = self.next() else {
                return;
            };
            self.begin(owner, urgency);
            let permit = QueuePermit {
                queue: Some(queue.clone()),
                owner,
                urgency,
                since: Instant::now(),
                outcome: Outcome::Unknown,
            };
            if let Err(mut unwanted) = waiter.send(permit) {
                // Its drop would lock the queue, which is locked here.
                unwanted.queue = None;
                self.finish(owner, urgency);
            }
        }
    }

    /// Takes the next waiter whose client and credential are below their shares.
    fn next(&mut self) -> Option<(Owner, Urgency, Waiter)> {
        let (client_share, credential_share) = self.shares();
        for urgency in self.order() {
            let queue = match urgency {
                Urgency::Urgent => &mut self.urgent,
                Urgency::Renewal => &mut self.renewal,
                Urgency::Routine => &mut self.routine,
            };
            let next = queue.pop(
                |client| is_below(&self.by_client, client, client_share),
                |credential| is_below(&self.by_credential, credential, credential_share),
            );
            if let Some((owner, waiter)) = next {
                return Some((owner, urgency, waiter));
            }
        }
        None
    }

    /// Returns the classes in the order in which they get the next place.
    fn order(&self) -> impl Iterator<Item = Urgency> + use<> {
        let urgent = self.may_be_urgent().then_some(Urgency::Urgent);
        let others = if self.renewals < MAX_RENEWALS_IN_A_ROW {
            [Urgency::Renewal, Urgency::Routine]
        } else {
            [Urgency::Routine, Urgency::Renewal]
        };
        urgent.into_iter().chain(others)
    }

    /// Returns the places that a client and a credential may hold while the present waiters wait:
    /// half of all if there are several of them, and all but one otherwise.
    fn shares(&self) -> (usize, usize) {
        let half = (self.limit.get() / 2).max(1);
        let alone = self.limit.get().saturating_sub(1).max(1);
        let mut queues = [&self.urgent, &self.renewal, &self.routine].into_iter();
        let mut clients = queues.clone().flat_map(|queue| queue.order.iter());
        let first = clients.next();
        if !clients.all(|client| Some(client) == first) {
            return (half, half);
        }
        let is_one_credential =
            queues.all(|queue| queue.waiting.values().all(|tokens| tokens.order.len() <= 1));
        (alone, if is_one_credential { alone } else { half })
    }

    /// Returns whether an urgent request may get the next place. While others wait, they have
    /// one place, or every second use of the only one.
    fn may_be_urgent(&self) -> bool {
        if self.renewal.len + self.routine.len == 0 {
            true
        } else if self.limit.get() == 1 {
            !self.was_urgent
        } else {
            self.limit.get().saturating_sub(self.urgent_running) > 1
        }
    }

    /// Counts a request that gets a place.
    fn begin(&mut self, owner: Owner, urgency: Urgency) {
        self.running += 1;
        self.was_urgent = urgency == Urgency::Urgent;
        self.moved = Instant::now();
        *self.by_client.entry(owner.client).or_default() += 1;
        *self.by_credential.entry(owner.credential).or_default() += 1;
        match urgency {
            Urgency::Urgent => self.urgent_running += 1,
            Urgency::Renewal => self.renewals += 1,
            Urgency::Routine => self.renewals = 0,
        }
    }

    /// Counts a request that returns its place.
    fn finish(&mut self, owner: Owner, urgency: Urgency) {
        self.running -= 1;
        decrement(&mut self.by_client, &owner.client);
        decrement(&mut self.by_credential, &owner.credential);
        if urgency == Urgency::Urgent {
            self.urgent_running -= 1;
        }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            let mut state = queue.0.lock();
            let has_waiters = state.urgent.len + state.renewal.len + state.routine.len > 0;
            state.limit.record(self.outcome, self.since, has_waiters);
            state.finish(self.owner, self.urgency);
            state.dispatch(&queue);
        }
    }
}

/// Returns whether the count of `key` is below `share`.
fn is_below<K: Eq + Hash>(counts: &HashMap<K, usize>, key: &K, share: usize) -> bool {
    counts.get(key).is_none_or(|count| *count < share)
}

/// Decrements the count of `key`, which is removed at zero.
fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The time that a request waits while no other gets a place either: Laravel hangs then.
pub(super) const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);
/// The waiters of each class. A waiter takes about 200 bytes.
const MAX_WAITING: usize = 16_384;
/// The renewals that get a place before a routine request that waits gets one.
const MAX_RENEWALS_IN_A_ROW: usize = 3;
/// The waiters of one client: an office of 200 that reconnects with up to 20 rooms each.
const MAX_WAITING_PER_CLIENT: usize = 4096;

#[cfg(test)]
mod tests;
