//! A cache of Laravel's decisions, with single flight: at most one request per key is under
//! way for all that wait for it (`docs/decisions/0024-authorization-cache.md`). A fair queue
//! bounds the requests of all keys.
//!
//! The lock of the state is held for single looks and changes, never across an await and
//! never together with that of the queue or of the invalidations.

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

use super::fair_queue::{FairQueue, Outcome};
use super::invalidation::Epoch;
use super::{AuthRequest, Error, Invalidations, Urgency};
use crate::core::units::PositiveCount;
use crate::runtime::drain::Drain;

/// Laravel's decision and the time for which it may be cached.
#[derive(Clone, Debug)]
pub(super) struct Verdict<V> {
    /// The value that was granted; none for a denial.
    pub(super) value: Option<V>,
    pub(super) ttl: Duration,
}

/// A decision, and the epoch in which its request began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachedDecision<V> {
    /// The value that was granted; none for a denial.
    pub(super) value: Option<V>,
    pub(super) epoch: Epoch,
}

/// Caches decisions by key. Cheap to clone; clones share the cache.
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
    decisions: LruCache<K, CachedEntry<V>>,
    in_flight: HashMap<K, InFlight<V>>,
}

/// A decision, and the time at which it expires.
#[derive(Clone, Debug)]
struct CachedEntry<V> {
    decision: CachedDecision<V>,
    expires_at: Instant,
}

/// A request that is queued or under way. Its result is held weakly here: while it is
/// queued, only its waiting callers keep it, and it is dropped with the last of them.
#[derive(Debug)]
struct InFlight<V> {
    begun: Epoch,
    urgency: Urgency,
    /// Cancelled when the request leaves the edge's queues and goes to Laravel.
    started: CancellationToken,
    result: WeakShared<BoxFuture<'static, Result<CachedDecision<V>, Error>>>,
}

/// The result of a request, for all callers that wait for it.
type SharedResult<V> = Shared<BoxFuture<'static, Result<CachedDecision<V>, Error>>>;

impl<K, V> Cache<K, V>
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
    V: Clone + Debug + Send + Sync + 'static,
{
    /// Creates a cache of at most `entries` decisions, with at most `concurrency` requests under
    /// way.
    pub(super) fn new(
        entries: PositiveCount,
        concurrency: PositiveCount,
        invalidations: Invalidations,
        drain: Drain,
    ) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                decisions: LruCache::new(
                    entries
                        .non_zero()
                        .try_into()
                        .expect("usize has at least 32 bits"),
                ),
                in_flight: HashMap::new(),
            }),
            queue: FairQueue::new(concurrency.size()),
            invalidations,
            drain,
        }))
    }

    /// Returns the cached decision on `key`, or that of `query`, which cancels its token when
    /// it leaves the edge's queues. With `since` only a decision counts whose request began
    /// then or later. A request in flight serves all callers, but an urgent caller does not
    /// wait for a routine request that is still queued.
    ///
    /// A request that has left the queue completes even if every caller is gone: its decision
    /// is cached for their retries. One that is still queued then is not sent. Cancel-safe.
    ///
    /// # Errors
    /// `Unavailable` if the queue is full or does not move, or the edge stops; otherwise the
    /// error of `query`. All waiting callers get it, and it is not cached.
    pub(super) async fn get<F>(
        &self,
        key: K,
        auth_request: &AuthRequest,
        query: impl FnOnce(CancellationToken) -> F,
    ) -> Result<CachedDecision<V>, Error>
    where
        F: Future<Output = Result<Verdict<V>, Error>> + Send + 'static,
    {
        let (started, result) = {
            let mut state = self.0.state.lock();
            if let Some(decision) = state.find_fresh(&key, auth_request.since) {
                return Ok(decision);
            }
            match state.find_in_flight(&key, auth_request) {
                Some(in_flight) => in_flight,
                None if state.in_flight.len() >= MAX_IN_FLIGHT => {
                    return Err(Error::unavailable(
                        "too many questions wait already".to_owned(),
                    ));
                }
                None => self.start_query(&mut state, key, auth_request, query),
            }
        };
        let Some(deadline) = &auth_request.deadline else {
            return result.await;
        };
        // The time in the queue does not count against the caller's deadline.
        tokio::select! {
            biased;
            decision = result.clone() => return decision,
            () = started.cancelled() => {}
        }
        deadline.start();
        result.await
    }

    /// Registers a request and spawns the task that queues and sends it.
    fn start_query<F>(
        &self,
        state: &mut State<K, V>,
        key: K,
        auth_request: &AuthRequest,
        query: impl FnOnce(CancellationToken) -> F,
    ) -> (CancellationToken, SharedResult<V>)
    where
        F: Future<Output = Result<Verdict<V>, Error>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let result = receiver
            .map(|received| {
                received.unwrap_or_else(|_| Err(Error::unavailable("the edge is stopping".into())))
            })
            .boxed()
            .shared();
        // Before the request: an invalidation that comes while it is under way is later.
        let begun = self.0.invalidations.next_epoch();
        let weak_result = result.downgrade().expect("it has not been polled yet");
        let started = CancellationToken::new();
        let urgency = match auth_request.urgency {
            Urgency::Routine if state.was_granted(&key) => Urgency::Renewal,
            urgency => urgency,
        };
        let in_flight = InFlight {
            begun,
            urgency,
            started: started.clone(),
            result: weak_result.clone(),
        };
        state.in_flight.insert(key.clone(), in_flight);
        let inner = Arc::clone(&self.0);
        let (owner, query) = (auth_request.owner(), query(started.clone()));
        self.0.drain.spawn(async move {
            let permit = inner.queue.acquire(owner, urgency).await;
            // Held until the end: from here on the result is kept for later callers, too.
            let Some(_result) = weak_result.upgrade() else {
                inner.state.lock().remove_in_flight(&key, begun);
                return;
            };
            let verdict = match permit {
                Ok(permit) => {
                    let verdict = query.await;
                    permit.finish(outcome(&verdict));
                    verdict
                }
                Err(error) => Err(Error::unavailable(error.to_string())),
            };
            let decision = inner.state.lock().finish_query(&key, begun, verdict);
            drop(sender.send(decision));
        });
        (started, result)
    }

    /// Returns whether the cached decision on `key` is a consent, and the time until it
    /// expires. Never asks Laravel.
    pub(super) fn peek(&self, key: &K) -> Option<(bool, Duration)> {
        let state = self.0.state.lock();
        let entry = state.decisions.peek(key)?;
        let left = entry.expires_at.checked_duration_since(Instant::now())?;
        Some((entry.decision.value.is_some(), left))
    }

    /// Drops the cached decision on `key`. The decision of a request in flight still goes to
    /// its callers, but is not cached.
    pub(super) fn forget(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.decisions.pop(key);
        state.in_flight.remove(key);
    }
}

impl<K: Clone + Eq + Hash, V: Clone> State<K, V> {
    /// Returns the decision on `key` that has not expired and began at `since` or later. An
    /// expired one is kept, for [`State::was_granted`].
    fn find_fresh(&mut self, key: &K, since: Option<Epoch>) -> Option<CachedDecision<V>> {
        let entry = self.decisions.get(key)?;
        let is_late_enough = since.is_none_or(|since| entry.decision.epoch >= since);
        (entry.expires_at > Instant::now() && is_late_enough).then(|| entry.decision.clone())
    }

    /// Returns whether the last decision on `key`, which may have expired, was a consent.
    fn was_granted(&self, key: &K) -> bool {
        let entry = self.decisions.peek(key);
        entry.is_some_and(|entry| entry.decision.value.is_some())
    }

    /// Returns the request in flight that serves `auth_request`, too: it began late enough,
    /// and it is as urgent or has left the queue.
    fn find_in_flight(
        &self,
        key: &K,
        auth_request: &AuthRequest,
    ) -> Option<(CancellationToken, SharedResult<V>)> {
        let in_flight = self.in_flight.get(key)?;
        let is_soon = in_flight.urgency >= auth_request.urgency || in_flight.started.is_cancelled();
        let is_fresh = auth_request
            .since
            .is_none_or(|since| in_flight.begun >= since);
        if !is_soon || !is_fresh {
            return None;
        }
        let result = in_flight.result.upgrade()?;
        Some((in_flight.started.clone(), result))
    }

    /// Removes the request that began at `begun`; returns false if another one, or none, has
    /// its place.
    fn remove_in_flight(&mut self, key: &K, begun: Epoch) -> bool {
        let is_current = self
            .in_flight
            .get(key)
            .is_some_and(|in_flight| in_flight.begun == begun);
        if is_current {
            self.in_flight.remove(key);
        }
        is_current
    }

    /// Removes the request, and caches its decision unless the key was forgotten or a later
    /// request has taken its place.
    fn finish_query(
        &mut self,
        key: &K,
        begun: Epoch,
        verdict: Result<Verdict<V>, Error>,
    ) -> Result<CachedDecision<V>, Error> {
        let is_current = self.remove_in_flight(key, begun);
        let Verdict { value, ttl } = verdict?;
        let decision = CachedDecision {
            value,
            epoch: begun,
        };
        if is_current {
            let entry = CachedEntry {
                decision: decision.clone(),
                expires_at: Instant::now() + ttl,
            };
            self.decisions.put(key.clone(), entry);
        }
        Ok(decision)
    }
}

impl<K: Eq + Hash, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Returns what a request says about the load of Laravel.
fn outcome<V>(verdict: &Result<Verdict<V>, Error>) -> Outcome {
    match verdict {
        // The user is throttled, or was so before and nothing was sent.
        Err(Error::Unavailable {
            is_throttled: true, ..
        }) => Outcome::Unknown,
        Err(Error::Unavailable { .. }) => Outcome::Failed,
        _ => Outcome::Responded,
    }
}

/// The requests that may be in flight, queued ones included. Above this a caller gets
/// `Unavailable`.
const MAX_IN_FLIGHT: usize = 16_384;

#[cfg(test)]
mod tests;
