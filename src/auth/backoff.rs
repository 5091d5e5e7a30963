//! Backoff by Laravel's `Retry-After`, kept per token.
//!
//! It is kept per token, so that a throttled user does not delay a colleague behind the same
//! address. In an outage a token waits for one second at most, and only until Laravel grants
//! any request: `artisan down --retry=600` may end after four seconds. A denial does not end
//! an outage: an application may deny unknown tokens while it cannot look up the known ones.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::CredentialHash;

/// The tokens that wait.
#[derive(Debug)]
pub(super) struct Backoff(Mutex<State>);

#[derive(Debug)]
struct State {
    waiting: LruCache<CredentialHash, Wait>,
    /// The time at which Laravel last granted a request of any client.
    granted: Option<Instant>,
}

/// The time for which a token still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) left: Duration,
    /// Whether Laravel throttles the user; otherwise there is an outage.
    pub(super) is_throttled: bool,
}

/// A token's wait, as Laravel requested it.
#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    until: Instant,
    is_throttled: bool,
}

impl Backoff {
    /// Creates a backoff in which no token waits.
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            waiting: LruCache::new(MAX_TOKENS),
            granted: None,
        }))
    }

    /// Checks whether Laravel may be asked with `token` now. After a wait one request goes
    /// first; the others follow after its response, or [`PROBE_TIMEOUT`] later.
    ///
    /// # Errors
    /// The time to wait.
    pub(super) fn check(&self, token: &CredentialHash) -> Result<(), Waiting> {
        let now = Instant::now();
        let mut state = self.0.lock();
        let granted = state.granted;
        let Some(wait) = state.waiting.get_mut(token) else {
            return Ok(());
        };
        if !wait.is_throttled && granted.is_some_and(|at| at > wait.since) {
            state.waiting.pop(token);
            return Ok(());
        }
        if wait.until > now {
            return Err(Waiting {
                left: wait.until - now,
                is_throttled: wait.is_throttled,
            });
        }
        wait.until = now + PROBE_TIMEOUT;
        Ok(())
    }

    /// Starts the wait of `token` after a 429, [`MAX_THROTTLE`] at most.
    pub(super) fn throttle(&self, token: CredentialHash, retry_after: Duration) {
        self.wait(token, retry_after.min(MAX_THROTTLE), true);
    }

    /// Starts the wait of `token` after a 5xx, [`MAX_OUTAGE`] at most.
    pub(super) fn outage(&self, token: CredentialHash, retry_after: Duration) {
        self.wait(token, retry_after.min(MAX_OUTAGE), false);
    }

    /// Starts a wait, in place of an earlier one.
    fn wait(&self, token: CredentialHash, retry_after: Duration, is_throttled: bool) {
        let since = Instant::now();
        let wait = Wait {
            since,
            until: since + retry_after,
            is_throttled,
        };
        self.0.lock().waiting.put(token, wait);
    }

    /// Records that Laravel granted a request with `token`: ends its wait and the outage.
    pub(super) fn granted(&self, token: &CredentialHash) {
        let mut state = self.0.lock();
        state.waiting.pop(token);
        state.granted = Some(Instant::now());
    }

    /// Records that Laravel denied a request with `token`: ends its wait.
    pub(super) fn denied(&self, token: &CredentialHash) {
        self.0.lock().waiting.pop(token);
    }

    /// Returns whether Laravel has granted a request of any client after `moment`.
    pub(super) fn has_granted_since(&self, moment: Instant) -> bool {
        self.0.lock().granted.is_some_and(|at| at > moment)
    }
}

/// The tokens that may wait. Above this the least recently used one is dropped.
const MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(10_000).expect("above zero");
/// The maximum wait after a 429. Laravel's throttles count per minute.
const MAX_THROTTLE: Duration = Duration::from_secs(300);
/// The maximum wait in an outage.
pub(super) const MAX_OUTAGE: Duration = Duration::from_secs(1);
/// The time for which requests wait for the first one after a wait.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Token;

    const SECOND: Duration = Duration::from_secs(1);

    fn token(text: &str) -> CredentialHash {
        Token::new(text).unwrap().hash()
    }

    fn left(checked: Result<(), Waiting>) -> Duration {
        checked.unwrap_err().left
    }

    #[tokio::test(start_paused = true)]
    async fn throttled_token_waits_alone_for_its_retry_after() {
        let (backoff, ana, ben) = (Backoff::new(), token("ana"), token("ben"));
        backoff.throttle(ana, 59 * SECOND);
        tokio::time::advance(58 * SECOND).await;
        assert_eq!(left(backoff.check(&ana)), SECOND);
        assert_eq!(backoff.check(&ben), Ok(()));
        // A response to another token does not end the wait of this one.
        backoff.granted(&ben);
        assert!(backoff.check(&ana).is_err());
        tokio::time::advance(SECOND).await;
        assert_eq!(backoff.check(&ana), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn outage_ends_after_a_second_or_with_any_granted_request() {
        let (backoff, ana, ben) = (Backoff::new(), token("ana"), token("ben"));
        backoff.outage(ana, 600 * SECOND);
        assert_eq!(left(backoff.check(&ana)), MAX_OUTAGE);
        tokio::time::advance(MAX_OUTAGE).await;
        assert_eq!(backoff.check(&ana), Ok(()));
        backoff.outage(ana, 600 * SECOND);
        tokio::time::advance(SECOND / 10).await;
        backoff.denied(&ben);
        assert!(backoff.check(&ana).is_err());
        backoff.granted(&ben);
        assert_eq!(backoff.check(&ana), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_backoff_lets_one_request_probe_first() {
        let (backoff, ana) = (Backoff::new(), token("ana"));
        backoff.throttle(ana, SECOND);
        tokio::time::advance(SECOND).await;
        assert_eq!(backoff.check(&ana), Ok(()));
        assert_eq!(left(backoff.check(&ana)), PROBE_TIMEOUT);
        backoff.denied(&ana);
        assert_eq!(backoff.check(&ana), Ok(()));
    }
}
