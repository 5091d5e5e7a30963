//! The responses to requests with an `Idempotency-Key`, so that the retry of a Laravel queue
//! job does not deliver its events twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::core::position::Position;
use crate::rooms::PastRequest;

/// Response bodies by `Idempotency-Key`. An entry expires after [`ENTRY_TTL`]. The cache is
/// bounded in entries and in bytes, and evicts the least recently used entry first.
#[derive(Debug)]
pub(super) struct ResponseCache(Mutex<CacheState>);

#[derive(Debug)]
struct CacheState {
    answers: LruCache<Key, Entry>,
    /// The sum of the entries' `bytes`. Invariant: both change only under the cache's lock.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    answer: Arc<OnceCell<Bytes>>,
    /// The request was published by an earlier process.
    past: Option<Position>,
    /// The SHA-256 digest of the first request's body.
    request: [u8; 32],
    since: Instant,
    /// The entry's share of the cache's `bytes`; 0 until the response is counted. The
    /// response's length cannot replace it: the response is set without the cache's lock, so
    /// the entry may be evicted before it is counted.
    bytes: usize,
}

/// The part of a request that must be equal in a retry, apart from the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestDigest {
    /// The body. A different body indicates that a key was reused by mistake.
    Body,
    /// Nothing but the key: the body may differ between attempts, for example in a timestamp.
    Key,
}

/// The error of a key that an earlier request used with a different body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyReused;

/// An `Idempotency-Key`: 1 to 200 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Box<str>);

impl Key {
    /// Returns the key, or `None` if `text` is empty, too long, or not visible ASCII.
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let fits = (1..=200).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(text).ok().filter(|_| fits)?;
        Some(Self(text.into()))
    }

    /// Returns the key as a text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl ResponseCache {
    pub(super) fn new() -> Self {
        Self(Mutex::new(CacheState {
            answers: LruCache::unbounded(),
            bytes: 0,
        }))
    }

    /// Returns the response to the first request with `key`; runs `act` to create it if this is
    /// the first one. `act` gets the position of the first event if an earlier process has
    /// published the request. Concurrent requests with `key` wait meanwhile.
    ///
    /// Cancel safety: if the future is dropped while `act` runs, a retry runs it again.
    ///
    /// # Errors
    /// Returns [`KeyReused`] if the first request with `key` had a body with another digest
    /// than `request` and `wanted` is [`RequestDigest::Body`], and the error of `act`.
    pub(super) async fn get_or_run<E: From<KeyReused>>(
        &self,
        key: Key,
        wanted: RequestDigest,
        request: [u8; 32],
        act: impl AsyncFnOnce(Option<Position>) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let entry = self.0.lock().entry(&key, request);
        if wanted == RequestDigest::Body && entry.request != request {
            return Err(KeyReused.into());
        }
        // `act` runs without the cache's lock, so it delays only requests with the same key.
        let mut fresh = false;
        let run = async || {
            fresh = true;
            act(entry.past).await
        };
        let answer = entry.answer.get_or_try_init(run).await?.clone();
        if fresh {
            self.0.lock().add_bytes(&key, &entry, answer.len());
        }
        Ok(answer)
    }

    /// Adds the requests that an earlier process has published.
    pub(super) fn restore(&self, past: Vec<PastRequest>) {
        let mut state = self.0.lock();
        let now = Instant::now();
        for request in past {
            let since = now.checked_sub(request.age);
            let Some((key, since)) = Key::new(request.key.as_bytes()).zip(since) else {
                continue;
            };
            let entry = Entry {
                answer: Arc::default(),
                past: Some(request.position),
                request: request.digest,
                since,
                bytes: 0,
            };
            state.answers.put(key, entry);
        }
        while state.is_over() && state.evict() {}
    }
}

impl CacheState {
    /// Returns the entry of `key`; inserts an empty one if there is none or it has expired.
    fn entry(&mut self, key: &Key, request: [u8; 32]) -> Entry {
        let now = Instant::now();
        self.forget_old(now);
        let is_old = |entry: &Entry| now >= entry.since + ENTRY_TTL;
        if self.answers.peek(key).is_some_and(is_old) {
            let old = self.answers.pop(key);
            self.forget(old);
        }
        let made = || Entry {
            answer: Arc::default(),
            past: None,
            request,
            since: now,
            bytes: 0,
        };
        self.answers.get_or_insert(key.clone(), made).clone()
    }

    /// Evicts expired entries. It stops at the first other one: entries are used in roughly the
    /// order of their insertion, so the expired ones are the least recently used.
    fn forget_old(&mut self, now: Instant) {
        let is_old = |entry: &Entry| now >= entry.since + ENTRY_TTL;
        while self
            .answers
            .peek_lru()
            .is_some_and(|(_, entry)| is_old(entry))
            && self.evict()
        {}
    }

    /// Counts the `bytes` of the response of `entry`, unless it was evicted or replaced
    /// meanwhile, and evicts entries until the cache is within its bounds.
    fn add_bytes(&mut self, key: &Key, entry: &Entry, bytes: usize) {
        let kept = self.answers.peek_mut(key);
        if let Some(kept) = kept.filter(|kept| Arc::ptr_eq(&kept.answer, &entry.answer)) {
            kept.bytes = bytes;
            self.bytes += bytes;
        }
        while self.is_over() && self.evict() {}
    }

    fn is_over(&self) -> bool {
        self.bytes > MAX_BYTES || self.answers.len() > MAX_ENTRIES
    }

    /// Evicts the least recently used entry. Returns false if there is none, which ends every
    /// loop that evicts.
    fn evict(&mut self) -> bool {
        let evicted = self.answers.pop_lru();
        self.forget(evicted.map(|(_, entry)| entry))
    }

    /// Subtracts the bytes of a removed entry. Returns false if there was no entry.
    fn forget(&mut self, entry: Option<Entry>) -> bool {
        let Some(entry) = entry else {
            return false;
        };
        self.bytes -= entry.bytes;
        true
    }
}

/// The time for which a retry gets the first response.
const ENTRY_TTL: Duration = Duration::from_secs(300);
const MAX_ENTRIES: usize = 10_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes()).unwrap()
    }

    async fn once(answers: &ResponseCache, text: &str, answer: &'static str) -> Bytes {
        let act = async |_| Ok::<_, KeyReused>(answer.into());
        let response = answers.get_or_run(key(text), RequestDigest::Body, [0; 32], act);
        response.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn key_reused_for_another_request_is_rejected() {
        let answers = ResponseCache::new();
        once(&answers, "a", "first").await;
        let other = |wanted| {
            let act = async |_| panic!("not acted on");
            let response = answers.get_or_run(key("a"), wanted, [1; 32], act);
            response.now_or_never().unwrap()
        };
        assert_eq!(other(RequestDigest::Body), Err(KeyReused));
        assert_eq!(other(RequestDigest::Key), Ok("first".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn request_of_an_earlier_process_runs_with_its_position_until_it_expires() {
        let answers = ResponseCache::new();
        let position: Position = "kQzVbTfa.7".parse().unwrap();
        let past = |key: &str, age| PastRequest {
            key: key.to_owned(),
            digest: [0; 32],
            position,
            age,
        };
        tokio::time::advance(ENTRY_TTL).await;
        answers.restore(vec![past("a", ENTRY_TTL / 2), past("old", ENTRY_TTL)]);
        let run = |key: Key| {
            let act = async |past: Option<Position>| {
                let text = past.map_or_else(|| "none".to_owned(), |at| at.to_string());
                Ok::<_, KeyReused>(text.into())
            };
            let response = answers.get_or_run(key, RequestDigest::Body, [0; 32], act);
            response.now_or_never().unwrap().unwrap()
        };
        assert_eq!(run(key("old")), "none");
        assert_eq!(run(key("a")), "kQzVbTfa.7");
    }

    /// Another request may come between the answer and its being counted, and
    /// need the room.
    #[tokio::test(start_paused = true)]
    async fn response_evicted_before_counting_keeps_the_byte_count() {
        let answers = ResponseCache::new();
        once(&answers, "kept", "x").await;
        let entry = answers.0.lock().entry(&key("a"), [0; 32]);
        entry.answer.set("answered".into()).unwrap();
        tokio::time::advance(ENTRY_TTL).await;
        once(&answers, "b", "other").await;
        answers.0.lock().add_bytes(&key("a"), &entry, 8);
        let shelf = answers.0.lock();
        assert_eq!((shelf.answers.len(), shelf.bytes), (1, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn eviction_with_a_wrong_byte_count_terminates() {
        let answers = ResponseCache::new();
        once(&answers, "a", "x").await;
        answers.0.lock().bytes = usize::MAX / 2;
        once(&answers, "b", "x").await;
        assert_eq!(answers.0.lock().answers.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn key_runs_its_action_once_until_it_expires() {
        let answers = ResponseCache::new();
        assert_eq!(once(&answers, "a", "first").await, "first");
        tokio::time::advance(ENTRY_TTL - Duration::from_millis(1)).await;
        assert_eq!(once(&answers, "a", "again").await, "first");
        assert_eq!(once(&answers, "b", "other").await, "other");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(once(&answers, "a", "again").await, "again");
    }

    #[tokio::test(start_paused = true)]
    async fn stored_responses_are_bounded_in_count_and_bytes() {
        let answers = ResponseCache::new();
        for n in 0..MAX_ENTRIES + 10 {
            once(&answers, &n.to_string(), "x").await;
        }
        assert_eq!(answers.0.lock().answers.len(), MAX_ENTRIES);
        let big: &'static str = "x".repeat(1024 * 1024).leak();
        for n in 0..40 {
            once(&answers, &format!("big-{n}"), big).await;
        }
        assert!(answers.0.lock().bytes <= MAX_BYTES);
        assert_eq!(once(&answers, "0", "again").await, "again");
    }

    #[test]
    fn key_empty_long_or_not_visible_ascii_is_rejected() {
        for wrong in ["", "a b", "é", "a\n", &"x".repeat(201)] {
            assert_eq!(Key::new(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
