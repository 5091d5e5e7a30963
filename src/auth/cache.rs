//! Answers that are remembered for a while, one question in flight per key, and
//! a bound on how many are in flight at all.

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
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::doubts::Moment;
use super::question::unavailable;
use super::{Doubts, Error};
use crate::drain::Drain;
use crate::units::Count;

/// A definite answer (yes with a value, or no) and how long it holds.
#[derive(Clone, Debug)]
pub(super) struct Verdict<V> {
    pub(super) answer: Option<V>,
    pub(super) ttl: Duration,
}

/// What was answered, and when the question began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told<V> {
    pub(super) answer: Option<V>,
    pub(super) asked: Moment,
}

/// Remembers verdicts by key. Cheap to clone; clones are one.
#[derive(Debug)]
pub(super) struct Cache<K: Eq + Hash, V>(Arc<Shelf<K, V>>);

#[derive(Debug)]
struct Shelf<K: Eq + Hash, V> {
    state: Mutex<State<K, V>>,
    asking: Arc<Semaphore>,
    doubts: Doubts,
    drain: Drain,
}

#[derive(Debug)]
struct State<K: Eq + Hash, V> {
    told: LruCache<K, Remembered<V>>,
    flights: HashMap<K, Flight<V>>,
}

#[derive(Clone, Debug)]
struct Remembered<V> {
    told: Told<V>,
    until: Instant,
}

/// A question on its way. Kept alive by those who wait for it.
#[derive(Debug)]
struct Flight<V> {
    begun: Moment,
    landing: WeakShared<BoxFuture<'static, Result<Told<V>, Error>>>,
}

type Landing<V> = Shared<BoxFuture<'static, Result<Told<V>, Error>>>;

impl<K, V> Cache<K, V>
where
    K: Clone + Debug + Eq + Hash + Send + 'static,
    V: Clone + Debug + Send + Sync + 'static,
{
    /// Remembers `entries` verdicts, asks `concurrency` questions at once.
    pub(super) fn new(entries: Count, concurrency: Count, doubts: Doubts, drain: Drain) -> Self {
        Self(Arc::new(Shelf {
            state: Mutex::new(State {
                told: LruCache::new(entries.non_zero().try_into().expect("32 bits fit")),
                flights: HashMap::new(),
            }),
            asking: Arc::new(Semaphore::new(concurrency.size())),
            doubts,
            drain,
        }))
    }

    /// The remembered verdict on `key`, or the one that `question` gives; with
    /// `since` only one whose question began then or later. Who asks while such
    /// a question is in flight gets its answer. A failed question is told to
    /// all who wait and then forgotten.
    ///
    /// A question that was begun runs to its end even if every asker goes away:
    /// its answer will be wanted when they come back. One that still waits for
    /// its turn then is not asked. Cancel-safe.
    pub(super) async fn get<F>(
        &self,
        key: K,
        since: Option<Moment>,
        question: F,
    ) -> Result<Told<V>, Error>
    where
        F: Future<Output = Result<Verdict<V>, Error>> + Send + 'static,
    {
        let landing = {
            let mut state = self.0.state.lock();
            if let Some(told) = state.fresh(&key, since) {
                return Ok(told);
            }
            match state.flying(&key, since) {
                Some(landing) => landing,
                None if state.flights.len() >= MAX_FLIGHTS => {
                    return Err(unavailable("too many questions wait already".to_owned()));
                }
                None => self.take_off(&mut state, key, question),
            }
        };
        landing.await
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
        let begun = self.0.doubts.now();
        let waited_for = landing.downgrade().expect("it has not been polled yet");
        let flight = Flight {
            begun,
            landing: waited_for.clone(),
        };
        state.flights.insert(key.clone(), flight);
        let shelf = Arc::clone(&self.0);
        self.0.drain.spawn(async move {
            let asking = shelf.asking.acquire().await;
            // From here on it is kept, for those who come back.
            let Some(_kept) = waited_for.upgrade() else {
                shelf.state.lock().clear_flight(&key, begun);
                return;
            };
            let verdict = question.await;
            drop(asking);
            let told = shelf.state.lock().land(&key, begun, verdict);
            drop(answer.send(told));
        });
        landing
    }

    /// What is remembered of `key`, and for how long it will be: whether it was
    /// a yes. Nobody is asked.
    pub(super) fn peek(&self, key: &K) -> Option<(bool, Duration)> {
        let state = self.0.state.lock();
        let Remembered { told, until } = state.told.peek(key)?;
        let left = until.checked_duration_since(Instant::now())?;
        Some((told.answer.is_some(), left))
    }

    /// Forgets what is known about `key`, and will not remember the answer to a
    /// question that is in flight.
    pub(super) fn forget(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.told.pop(key);
        state.flights.remove(key);
    }
}

impl<K: Clone + Eq + Hash, V: Clone> State<K, V> {
    fn fresh(&mut self, key: &K, since: Option<Moment>) -> Option<Told<V>> {
        let Remembered { told, until } = self.told.get(key)?;
        if *until <= Instant::now() {
            self.told.pop(key);
            return None;
        }
        since
            .is_none_or(|since| told.asked >= since)
            .then(|| told.clone())
    }

    fn flying(&self, key: &K, since: Option<Moment>) -> Option<Landing<V>> {
        let flight = self.flights.get(key)?;
        let fits = since.is_none_or(|since| flight.begun >= since);
        fits.then(|| flight.landing.upgrade()).flatten()
    }

    /// Takes the flight that began at `begun` off the list; false if another
    /// one, or none, is there now.
    fn clear_flight(&mut self, key: &K, begun: Moment) -> bool {
        let current = self
            .flights
            .get(key)
            .is_some_and(|flight| flight.begun == begun);
        if current {
            self.flights.remove(key);
        }
        current
    }

    fn land(
        &mut self,
        key: &K,
        begun: Moment,
        verdict: Result<Verdict<V>, Error>,
    ) -> Result<Told<V>, Error> {
        let current = self.clear_flight(key, begun);
        let verdict = verdict?;
        let told = Told {
            answer: verdict.answer,
            asked: begun,
        };
        if current {
            let remembered = Remembered {
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
const MAX_FLIGHTS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn cache(entries: u32, concurrency: u32) -> Cache<u32, u32> {
        Cache::new(
            Count::new(entries),
            Count::new(concurrency),
            Doubts::new(),
            Drain::new(),
        )
    }

    async fn get<F>(cache: &Cache<u32, u32>, key: u32, question: F) -> Result<u32, Error>
    where
        F: Future<Output = Result<Verdict<u32>, Error>> + Send + 'static,
    {
        let told = cache.get(key, None, question).await?;
        told.answer.ok_or(Error::Denied)
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
        assert_eq!(get(&cache, 1, async { yes(7) }).await, Ok(7));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(7));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_no_is_remembered_and_a_failure_is_not() {
        let cache = cache(10, 1);
        let no = Verdict {
            answer: None,
            ttl: Duration::from_secs(10),
        };
        assert_eq!(get(&cache, 1, async { Ok(no) }).await, Err(Error::Denied));
        assert_eq!(get(&cache, 1, async { yes(7) }).await, Err(Error::Denied));
        let down = unavailable("down".into());
        let failed = get(&cache, 2, std::future::ready(Err(down.clone()))).await;
        assert_eq!(failed, Err(down));
        assert_eq!(get(&cache, 2, async { yes(7) }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn one_question_serves_all_who_wait() {
        let cache = cache(10, 1);
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let asked = Arc::clone(&asked);
            get(&cache, 1, async move {
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
        let slow = get(&cache, 1, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(7)
        });
        assert!(
            tokio::time::timeout(Duration::from_millis(1), slow)
                .await
                .is_err()
        );
        assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn questions_at_once_are_bounded() {
        let cache = cache(10, 2);
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let ask = |key| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            get(&cache, key, async move {
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
        let first = get(&cache, 1, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(7)
        });
        let forget = async {
            tokio::task::yield_now().await;
            cache.forget(&1);
        };
        assert_eq!(tokio::join!(first, forget).0, Ok(7));
        assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_asks_again_once_for_all_who_share_it() {
        let cache = cache(10, 1);
        assert_eq!(get(&cache, 1, async { yes(7) }).await, Ok(7));
        tokio::time::advance(Duration::from_secs(1)).await;
        let since = Some(cache.0.doubts.now());
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let asked = Arc::clone(&asked);
            cache.get(1, since, async move {
                asked.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                yes(8)
            })
        };
        let answers = futures_util::future::join_all([ask(), ask()]).await;
        assert!(
            answers
                .iter()
                .all(|told| told.as_ref().unwrap().answer == Some(8))
        );
        assert_eq!(ask().await.unwrap().answer, Some(8));
        assert_eq!(asked.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_more_is_not_asked() {
        let cache = cache(10, 1);
        let slow = get(&cache, 1, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(7)
        });
        let given_up = get(&cache, 2, async { panic!("was asked") });
        let given_up = tokio::time::timeout(Duration::from_millis(1), given_up);
        let (slow, given_up) = tokio::join!(slow, given_up);
        assert_eq!((slow, given_up.is_err()), (Ok(7), true));
        assert_eq!(get(&cache, 2, async { yes(9) }).await, Ok(9));
        assert!(cache.0.state.lock().flights.is_empty());
    }
}
