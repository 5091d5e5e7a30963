//! Answers to requests that may be sent again: a queue's retry must not deliver
//! twice.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Answers by `Idempotency-Key`, remembered for a while, bounded in number and
/// in bytes; the least recently used go first.
#[derive(Debug)]
pub(super) struct ResponseCache(Mutex<CacheState>);

#[derive(Debug)]
struct CacheState {
    answers: LruCache<Key, Entry>,
    /// The sum of the entries' `bytes`. Both change under the shelf's lock only.
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    answer: Arc<OnceLock<Bytes>>,
    request: [u8; 32],
    since: Instant,
    /// What the entry counts for. Not the answer's length: the answer is given
    /// without the shelf's lock, so the entry may be evicted before it is counted.
    bytes: usize,
}

/// What two requests with one key must have in common to be the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestDigest {
    /// The body too. Another body tells that keys are reused by mistake.
    Body,
    /// Nothing else: the body may differ between attempts, as a time in it does.
    Key,
}

/// The key came before, with another request: somebody reuses keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyReused;

/// A key as a client sent it: 1 to 200 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Box<str>);

impl Key {
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let fits = (1..=200).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(text).ok().filter(|_| fits)?;
        Some(Self(text.into()))
    }
}

impl ResponseCache {
    pub(super) fn new() -> Self {
        Self(Mutex::new(CacheState {
            answers: LruCache::unbounded(),
            bytes: 0,
        }))
    }

    /// The answer to the first request with `key`, given by `act` if this is
    /// the first. Who comes meanwhile waits for it: `act` only fills queues.
    ///
    /// # Errors
    /// The first request with `key` had another body than `request`, and `wanted`
    /// is [`Match::Body`].
    pub(super) fn get_or_run(
        &self,
        key: Key,
        wanted: RequestDigest,
        request: &[u8],
        act: impl FnOnce() -> Bytes,
    ) -> Result<Bytes, KeyReused> {
        let request = Sha256::digest(request).into();
        let entry = self.0.lock().entry(&key, request);
        if wanted == RequestDigest::Body && entry.request != request {
            return Err(KeyReused);
        }
        let mut fresh = false;
        let answer = entry.answer.get_or_init(|| {
            fresh = true;
            act()
        });
        if fresh {
            self.0.lock().add_bytes(&key, &entry, answer.len());
        }
        Ok(answer.clone())
    }
}

impl CacheState {
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
            request,
            since: now,
            bytes: 0,
        };
        self.answers.get_or_insert(key.clone(), made).clone()
    }

    /// Entries are used in about the order in which they came, so the old ones
    /// are at the end.
    fn forget_old(&mut self, now: Instant) {
        let is_old = |entry: &Entry| now >= entry.since + ENTRY_TTL;
        while self
            .answers
            .peek_lru()
            .is_some_and(|(_, entry)| is_old(entry))
            && self.evict()
        {}
    }

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

    /// Forgets the least recently used entry; false if there is none, which ends
    /// every loop that evicts.
    fn evict(&mut self) -> bool {
        let evicted = self.answers.pop_lru();
        self.forget(evicted.map(|(_, entry)| entry))
    }

    fn forget(&mut self, entry: Option<Entry>) -> bool {
        let Some(entry) = entry else {
            return false;
        };
        self.bytes -= entry.bytes;
        true
    }
}

const ENTRY_TTL: Duration = Duration::from_secs(300);
const MAX_ENTRIES: usize = 10_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes()).unwrap()
    }

    fn once(answers: &ResponseCache, text: &str, answer: &'static str) -> Bytes {
        let act = || answer.into();
        answers
            .get_or_run(key(text), RequestDigest::Body, b"{}", act)
            .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn key_reused_for_another_request_is_rejected() {
        let answers = ResponseCache::new();
        once(&answers, "a", "first");
        let other = |wanted| answers.get_or_run(key("a"), wanted, b"[]", || panic!("not acted on"));
        assert_eq!(other(RequestDigest::Body), Err(KeyReused));
        assert_eq!(other(RequestDigest::Key), Ok("first".into()));
    }

    /// Another request may come between the answer and its being counted, and
    /// need the room.
    #[tokio::test(start_paused = true)]
    async fn response_evicted_before_counting_keeps_the_byte_count() {
        let answers = ResponseCache::new();
        once(&answers, "kept", "x");
        let entry = answers.0.lock().entry(&key("a"), [0; 32]);
        entry.answer.set("answered".into()).unwrap();
        tokio::time::advance(ENTRY_TTL).await;
        once(&answers, "b", "other");
        answers.0.lock().add_bytes(&key("a"), &entry, 8);
        let shelf = answers.0.lock();
        assert_eq!((shelf.answers.len(), shelf.bytes), (1, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn eviction_with_a_wrong_byte_count_terminates() {
        let answers = ResponseCache::new();
        once(&answers, "a", "x");
        answers.0.lock().bytes = usize::MAX / 2;
        once(&answers, "b", "x");
        assert_eq!(answers.0.lock().answers.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn key_runs_its_action_once_until_it_expires() {
        let answers = ResponseCache::new();
        assert_eq!(once(&answers, "a", "first"), "first");
        tokio::time::advance(ENTRY_TTL - Duration::from_millis(1)).await;
        assert_eq!(once(&answers, "a", "again"), "first");
        assert_eq!(once(&answers, "b", "other"), "other");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(once(&answers, "a", "again"), "again");
    }

    #[tokio::test(start_paused = true)]
    async fn stored_responses_are_bounded_in_count_and_bytes() {
        let answers = ResponseCache::new();
        for n in 0..MAX_ENTRIES + 10 {
            once(&answers, &n.to_string(), "x");
        }
        assert_eq!(answers.0.lock().answers.len(), MAX_ENTRIES);
        let big: &'static str = "x".repeat(1024 * 1024).leak();
        for n in 0..40 {
            once(&answers, &format!("big-{n}"), big);
        }
        assert!(answers.0.lock().bytes <= MAX_BYTES);
        assert_eq!(once(&answers, "0", "again"), "again");
    }

    #[test]
    fn key_empty_long_or_not_visible_ascii_is_rejected() {
        for wrong in ["", "a b", "é", "a\n", &"x".repeat(201)] {
            assert_eq!(Key::new(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
