//! Answers that are remembered for a while, one question in flight per key, and
//! a queue before Laravel for all of them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::unavailable;
use super::fair_queue::FairQueue;
use super::invalidation::Epoch;
use super::{AuthRequest, Error, Invalidations, Urgency};
use crate::core::units::PositiveCount;
use crate::runtime::drain::Drain;

/// A definite answer (yes with a value, or no) and how long it holds.
#[derive(Clone, Debug)]
pub(super) struct Verdict<V> {
    pub(super) answer: Option<V>,
    pub(super) ttl: Duration,
}

/// What was answered, and when the question began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachedDecision<V> {
    pub(super) answer: Option<V>,
    pub(super) epoch: Epoch,
}

/// Remembers verdicts by key. Cheap to clone; clones are one.
#[derive(Debug)]
pub(super) struct Cache<K: Eq + Hash, V>(Arc<Inner<K, V>>);

#[derive(Debug)]
struct Inner<K: Eq + Hash, V> {
    state: Mutex<State<K, V>>,
    queue: FairQueue,
    invalidations: Invalidations,
    drain: Drain,
}

#[derive(Debug)]
struct State<K: Eq + Hash, V> {
    told: LruCache<K, CachedEntry<V>>,
    in_flight: HashMap<K, InFlight<V>>,
}

#[derive(Clone, Debug)]
struct CachedEntry<V> {
    told: CachedDecision<V>,
    until: Instant,
}

/// A question on its way. Kept alive by those who wait for it.
#[derive(Debug)]
struct InFlight<V> {
    begun: Epoch,
    urgency: Urgency,
    /// Cancelled when the question has its place: Laravel has it from then on.
    placed: CancellationToken,
    landing: WeakShared<BoxFuture<'static, Result<CachedDecision<V>, Error>>>,
}

type SharedResult<V> = Shared<BoxFuture<'static, Result<CachedDecision<V>, Error>>>;

impl<K, V> Cache<K, V>
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
    V: Clone + Debug + Send + Sync + 'static,
{
    /// Remembers `entries` verdicts, asks `concurrency` questions at once.
    pub(super) fn new(
        entries: PositiveCount,
        concurrency: PositiveCount,
        invalidations: Invalidations,
        drain: Drain,
    ) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                told: LruCache::new(entries.non_zero().try_into().expect("32 bits fit")),
                in_flight: HashMap::new(),
            }),
            queue: FairQueue::new(concurrency.size()),
            invalidations,
            drain,
        }))
    }

    /// The remembered verdict on `key`, or the one that `client` gives, as `inquiry`
    /// wants it: with `since` only one whose question began then or later. A question that
    /// is in flight serves all who ask meanwhile, but an urgent one waits for no routine
    /// question that is still in the queue. All who wait learn of a failure, which is then
    /// forgotten.
    ///
    /// A question that was begun runs to its end even if every asker goes away:
    /// its answer will be wanted when they come back. One that still waits for
    /// its turn then is not asked. Cancel-safe.
    pub(super) async fn get<F>(
        &self,
        key: K,
        auth_request: &AuthRequest,
        question: F,
    ) -> Result<CachedDecision<V>, Error>
    where
        F: Future<Output = Result<Verdict<V>, Error>> + Send + 'static,
    {
        let (placed, landing) = {
            let mut state = self.0.state.lock();
            if let Some(told) = state.find_fresh(&key, auth_request.since) {
                return Ok(told);
            }
            match state.find_in_flight(&key, auth_request) {
                Some(flying) => flying,
                None if state.in_flight.len() >= MAX_IN_FLIGHT => {
                    return Err(unavailable("too many questions wait already".to_owned()));
                }
                None => self.start_query(&mut state, key, auth_request, question),
            }
        };
        let Some(patience) = &auth_request.deadline else {
            return landing.await;
        };
        tokio::select! {
            biased;
            told = landing.clone() => return told,
            () = placed.cancelled() => {}
        }
        patience.start();
        landing.await
    }

    fn start_query<F>(
        &self,
        state: &mut State<K, V>,
        key: K,
        auth_request: &AuthRequest,
        question: F,
    ) -> (CancellationToken, SharedResult<V>)
    where
        F: Future<Output = Result<Verdict<V>, Error>> + Send + 'static,
    {
        let (answer, landing) = oneshot::channel();
        let landing = landing
            .map(|landed| {
                landed.unwrap_or_else(|_| Err(unavailable("the edge is stopping".into())))
            })
            .boxed()
            .shared();
        let begun = self.0.invalidations.next_epoch();
        let waited_for = landing.downgrade().expect("it has not been polled yet");
        let placed = CancellationToken::new();
        let flight = InFlight {
            begun,
            urgency: auth_request.urgency,
            placed: placed.clone(),
            landing: waited_for.clone(),
        };
        state.in_flight.insert(key.clone(), flight);
        let shelf = Arc::clone(&self.0);
        let (owner, urgency, started) =
            (auth_request.owner(), auth_request.urgency, placed.clone());
        self.0.drain.spawn(async move {
            let place = shelf.queue.acquire(owner, urgency).await;
            // From here on it is kept, for those who come back.
            let Some(_kept) = waited_for.upgrade() else {
                shelf.state.lock().remove_in_flight(&key, begun);
                return;
            };
            started.cancel();
            let verdict = match place {
                Ok(_place) => question.await,
                Err(error) => Err(unavailable(error.to_string())),
            };
            let told = shelf.state.lock().finish_query(&key, begun, verdict);
            drop(answer.send(told));
        });
        (placed, landing)
    }

    /// What is remembered of `key`, and for how long it will be: whether it was
    /// a yes. Nobody is asked.
    pub(super) fn peek(&self, key: &K) -> Option<(bool, Duration)> {
        let state = self.0.state.lock();
        let CachedEntry { told, until } = state.told.peek(key)?;
        let left = until.checked_duration_since(Instant::now())?;
        Some((told.answer.is_some(), left))
    }

    /// Forgets what is known about `key`, and will not remember the answer to a
    /// question that is in flight.
    pub(super) fn forget(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.told.pop(key);
        state.in_flight.remove(key);
    }
}

impl<K: Clone + Eq + Hash, V: Clone> State<K, V> {
    fn find_fresh(&mut self, key: &K, since: Option<Epoch>) -> Option<CachedDecision<V>> {
        let CachedEntry { told, until } = self.told.get(key)?;
        if *until <= Instant::now() {
            self.told.pop(key);
            return None;
        }
        since
            .is_none_or(|since| told.epoch >= since)
            .then(|| told.clone())
    }

    fn find_in_flight(
        &self,
        key: &K,
        auth_request: &AuthRequest,
    ) -> Option<(CancellationToken, SharedResult<V>)> {
        let flight = self.in_flight.get(key)?;
        let is_soon = flight.urgency >= auth_request.urgency || flight.placed.is_cancelled();
        let is_late = auth_request.since.is_none_or(|since| flight.begun >= since);
        if !is_soon || !is_late {
            return None;
        }
        let landing = flight.landing.upgrade()?;
        Some((flight.placed.clone(), landing))
    }

    /// Takes the flight that began at `begun` off the list; false if another
    /// one, or none, is there now.
    fn remove_in_flight(&mut self, key: &K, begun: Epoch) -> bool {
        let current = self
            .in_flight
            .get(key)
            .is_some_and(|flight| flight.begun == begun);
        if current {
            self.in_flight.remove(key);
        }
        current
    }

    fn finish_query(
        &mut self,
        key: &K,
        begun: Epoch,
        verdict: Result<Verdict<V>, Error>,
    ) -> Result<CachedDecision<V>, Error> {
        let current = self.remove_in_flight(key, begun);
        let verdict = verdict?;
        let told = CachedDecision {
            answer: verdict.answer,
            epoch: begun,
        };
        if current {
            let remembered = CachedEntry {
                told: told.clone(),
                until: Instant::now() + verdict.ttl,
            };
            self.told.put(key.clone(), remembered);
        }
        Ok(told)
    }
}

impl<K: Eq + Hash, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Questions that may wait; who comes then is told to come again.
const MAX_IN_FLIGHT: usize = 16_384;

#[cfg(test)]
mod tests;
