//! When Laravel said that it is to be asked again: `Retry-After`, kept for each token.
//!
//! For each token, because what throttles one user is no reason to leave a colleague
//! behind the same address unanswered. An outage keeps a token waiting for a second, and
//! ends with the first yes that Laravel gives to anybody: `artisan down --retry=600` may
//! be over after four. A no is no sign of life: an app may refuse unknown tokens while it
//! cannot look up the known ones.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::TokenHash;

/// Which tokens wait.
#[derive(Debug)]
pub(super) struct Backoff(Mutex<State>);

#[derive(Debug)]
struct State {
    waiting: LruCache<TokenHash, Wait>,
    /// When Laravel last granted anybody anything.
    granted: Option<Instant>,
}

/// For how long a token still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) left: Duration,
    pub(super) is_throttled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    since: Instant,
    until: Instant,
    is_throttled: bool,
}

impl Backoff {
    /// No token waits.
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            waiting: LruCache::new(MAX_TOKENS),
            granted: None,
        }))
    }

    /// Whether Laravel may be asked with `token` now. After a wait one request goes
    /// first; the others follow once it is answered, or [`PROBE_TIMEOUT`] later.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn check(&self, token: &TokenHash) -> Result<(), Waiting> {
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

    /// Laravel answered 429 to `token`.
    pub(super) fn throttle(&self, token: TokenHash, retry_after: Duration) {
        self.wait(token, retry_after.min(MAX_THROTTLE), true);
    }

    /// Laravel is away, and said until when.
    pub(super) fn outage(&self, token: TokenHash, retry_after: Duration) {
        self.wait(token, retry_after.min(MAX_OUTAGE), false);
    }

    fn wait(&self, token: TokenHash, retry_after: Duration, is_throttled: bool) {
        let since = Instant::now();
        let wait = Wait {
            since,
            until: since + retry_after,
            is_throttled,
        };
        self.0.lock().waiting.put(token, wait);
    }

    /// Laravel said yes to `token`.
    pub(super) fn granted(&self, token: &TokenHash) {
        let mut state = self.0.lock();
        state.waiting.pop(token);
        state.granted = Some(Instant::now());
    }

    /// Laravel said no to `token`.
    pub(super) fn denied(&self, token: &TokenHash) {
        self.0.lock().waiting.pop(token);
    }

    /// Whether Laravel has granted anybody anything after `moment`.
    pub(super) fn has_granted_since(&self, moment: Instant) -> bool {
        self.0.lock().granted.is_some_and(|at| at > moment)
    }
}

const MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(10_000).expect("above zero");
/// The longest wait that a 429 asks for. Laravel's throttles count a minute.
const MAX_THROTTLE: Duration = Duration::from_secs(300);
/// The longest wait in an outage.
pub(super) const MAX_OUTAGE: Duration = Duration::from_secs(1);
/// How long the others wait for the first request after a wait.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Token;

    const SECOND: Duration = Duration::from_secs(1);

    fn token(text: &str) -> TokenHash {
        Token::new(text).unwrap().hash()
    }

    fn left(checked: Result<(), Waiting>) -> Duration {
        checked.unwrap_err().left
    }

    #[tokio::test(start_paused = true)]
    async fn throttled_token_waits_alone_and_as_long_as_laravel_said() {
        let (backoff, ana, ben) = (Backoff::new(), token("ana"), token("ben"));
        backoff.throttle(ana, 59 * SECOND);
        tokio::time::advance(58 * SECOND).await;
        assert_eq!(left(backoff.check(&ana)), SECOND);
        assert_eq!(backoff.check(&ben), Ok(()));
        // What Laravel answers others is no reason to ask it again for this one.
        backoff.granted(&ben);
        assert!(backoff.check(&ana).is_err());
        tokio::time::advance(SECOND).await;
        assert_eq!(backoff.check(&ana), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn outage_ends_after_a_second_or_with_any_yes() {
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
    async fn one_request_goes_first_after_a_wait() {
        let (backoff, ana) = (Backoff::new(), token("ana"));
        backoff.throttle(ana, SECOND);
        tokio::time::advance(SECOND).await;
        assert_eq!(backoff.check(&ana), Ok(()));
        assert_eq!(left(backoff.check(&ana)), PROBE_TIMEOUT);
        backoff.denied(&ana);
        assert_eq!(backoff.check(&ana), Ok(()));
    }
}
