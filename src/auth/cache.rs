//! Answers that are remembered for a while, one question in flight per key, and
//! a bound on how many are in flight at all.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::Error;
use super::question::unavailable;
use crate::drain::Drain;

/// A definite answer (yes with a value, or no) and how long it holds.
#[derive(Clone, Debug)]
pub(super) struct Verdict<V> {
    pub(super) answer: Option<V>,
    pub(super) ttl: Duration,
}

/// Remembers verdicts by key. Cheap to clone; clones are one.
#[derive(Debug)]
pub(super) struct Cache<K: Eq + Hash, V>(Arc<Shelf<K, V>>);

#[derive(Debug)]
struct Shelf<K: Eq + Hash, V> {
    state: Mutex<State<K, V>>,
    asking: Arc<Semaphore>,
    drain: Drain,
}

#[derive(Debug)]
struct State<K: Eq + Hash, V> {
    verdicts: LruCache<K, (Option<V>, Instant)>,
    flights: HashMap<K, Flight<V>>,
    next_flight: u64,
}

#[derive(Debug)]
struct Flight<V> {
    number: u64,
    landing: Landing<V>,
}

type Landing<V> = Shared<BoxFuture<'static, Result<Option<V>, Error>>>;

impl<K, V> Cache<K, V>
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
    V: Clone + Debug + Send + Sync + 'static,
{
    /// Remembers `entries` verdicts, asks `concurrency` questions at once.
    pub(super) fn new(entries: NonZeroUsize, concurrency: u32, drain: Drain) -> Self {
        Self(Arc::new(Shelf {
            state: Mutex::new(State {
                verdicts: LruCache::new(entries),
                flights: HashMap::new(),
                next_flight: 0,
            }),
            asking: Arc::new(Semaphore::new(concurrency as usize)),
            drain,
        }))
    }

    /// The remembered verdict on `key`, or the one that `question` gives. Who
    /// asks while a question about `key` is in flight gets its answer. A failed
    /// question is told to all who wait and then forgotten.
    ///
    /// The question runs to its end even if every asker goes away: its answer
    /// will be wanted when they come back. Cancel-safe.
    pub(super) async fn get<F>(&self, key: K, question: F) -> Result<V, Error>
    where
        F: Future<Output = Result<Verdict<V>, Error>> + Send + 'static,
    {
        let landing = {
            let mut state = self.0.state.lock();
            if let Some(answer) = state.fresh(&key) {
                return answer.ok_or(Error::Denied);
            }
            match state.flights.get(&key) {
                Some(flight) => flight.landing.clone(),
                None => self.take_off(&mut state, key, question),
            }
        };
        landing.await?.ok_or(Error::Denied)
    }

    fn take_off<F>(&self, state: &mut State<K, V>, key: K, question: F) -> Landing<V>
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
        let number = state.next_flight;
        state.next_flight += 1;
        state.flights.insert(
            key.clone(),
            Flight {
                number,
                landing: landing.clone(),
            },
        );
        let shelf = Arc::clone(&self.0);
        self.0.drain.spawn(async move {
            let asking = shelf.asking.acquire().await;
            let verdict = question.await;
            drop(asking);
            let told = shelf.state.lock().land(&key, number, verdict);
            drop(answer.send(told));
        });
        landing
    }

    /// Forgets what is known about `key`, and will not remember the answer to a
    /// question that is in flight.
    pub(super) fn forget(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.verdicts.pop(key);
        state.flights.remove(key);
    }
}

impl<K: Clone + Eq + Hash, V: Clone> State<K, V> {
    fn fresh(&mut self, key: &K) -> Option<Option<V>> {
        let (answer, until) = self.verdicts.get(key)?;
        if *until > Instant::now() {
            return Some(answer.clone());
        }
        self.verdicts.pop(key);
        None
    }

    fn land(
        &mut self,
        key: &K,
        number: u64,
        verdict: Result<Verdict<V>, Error>,
    ) -> Result<Option<V>, Error> {
        let current = self
            .flights
            .get(key)
            .is_some_and(|flight| flight.number == number);
        if current {
            self.flights.remove(key);
        }
        let verdict = verdict?;
        if current {
            let until = Instant::now() + verdict.ttl;
            self.verdicts
                .put(key.clone(), (verdict.answer.clone(), until));
        }
        Ok(verdict.answer)
    }
}

impl<K: Eq + Hash, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn cache(entries: usize, concurrency: u32) -> Cache<u32, u32> {
        Cache::new(
            NonZeroUsize::new(entries).unwrap(),
            concurrency,
            Drain::new(),
        )
    }

    fn yes(value: u32) -> Result<Verdict<u32>, Error> {
        Ok(Verdict {
            answer: Some(value),
            ttl: Duration::from_secs(60),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_believed_for_its_time_and_not_longer() {
        let cache = cache(10, 1);
        assert_eq!(cache.get(1, async { yes(7) }).await, Ok(7));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(cache.get(1, async { yes(8) }).await, Ok(7));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.get(1, async { yes(8) }).await, Ok(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_is_remembered_and_a_failure_is_not() {
        let cache = cache(10, 1);
        let no = Verdict {
            answer: None,
            ttl: Duration::from_secs(10),
        };
        assert_eq!(cache.get(1, async { Ok(no) }).await, Err(Error::Denied));
        assert_eq!(cache.get(1, async { yes(7) }).await, Err(Error::Denied));
        let down = unavailable("down".into());
        let failed = cache
            .get(2, {
                let down = down.clone();
                async { Err(down) }
            })
            .await;
        assert_eq!(failed, Err(down));
        assert_eq!(cache.get(2, async { yes(7) }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_serves_all_who_wait() {
        let cache = cache(10, 1);
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let asked = Arc::clone(&asked);
            cache.get(1, async move {
                asked.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                yes(7)
            })
        };
        let answers = futures_util::future::join_all([ask(), ask(), ask()]).await;
        assert_eq!(answers, [Ok(7), Ok(7), Ok(7)]);
        assert_eq!(asked.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_asker_who_leaves_does_not_take_the_answer_with_him() {
        let cache = cache(10, 1);
        let slow = cache.get(1, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(7)
        });
        assert!(
            tokio::time::timeout(Duration::from_millis(1), slow)
                .await
                .is_err()
        );
        assert_eq!(cache.get(1, async { yes(8) }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn questions_at_once_are_bounded() {
        let cache = cache(10, 2);
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let ask = |key| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            cache.get(key, async move {
                most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                now.fetch_sub(1, Relaxed);
                yes(key)
            })
        };
        futures_util::future::join_all((0..6).map(ask)).await;
        assert_eq!(most.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_in_flight_is_not_remembered() {
        let cache = cache(10, 1);
        let first = cache.get(1, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(7)
        });
        let forget = async {
            tokio::task::yield_now().await;
            cache.forget(&1);
        };
        assert_eq!(tokio::join!(first, forget).0, Ok(7));
        assert_eq!(cache.get(1, async { yes(8) }).await, Ok(8));
    }
}
