//! Failed log-ins and rejected tokens. A client that guesses passwords cannot log in for a
//! minute, and one that sends many rejected tokens cannot open sessions. The two are counted
//! apart: a desk whose tokens have expired over night must be able to log in.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::client_table::{ClientTable, Evictable, EvictionPriority};
use super::clock::TokioClock;
use super::{ClientConcurrency, ClientKeys, ClientPermit};
use crate::core::units::PositiveCount;

/// Counts the failures of each client. After the maximum within a minute, the client is
/// blocked for a minute. Retries with the same token are not counted: one phone with an
/// expired token must not block all users behind its address.
#[derive(Debug)]
pub(super) struct LoginFailures {
    table: ClientTable<FailureHistory>,
    sites: ClientTable<FailureHistory>,
    /// The log-ins under way.
    attempts: ClientConcurrency,
    clock: TokioClock,
    max_logins: PositiveCount,
    max_tokens: PositiveCount,
}

/// The reason why a log-in may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginDenial {
    /// The client is blocked for this time.
    Blocked(Duration),
    /// Log-ins that are under way would reach the maximum if all failed.
    Busy,
}

/// A log-in under way. It counts as a failure until it is dropped, so that guesses at once do
/// not exceed the maximum.
#[derive(Debug)]
pub(crate) struct LoginAttempt {
    failures: Arc<LoginFailures>,
    client: ClientKeys,
    _permit: ClientPermit,
}

impl LoginAttempt {
    /// Records that the log-in has failed.
    pub(crate) fn fail(self) {
        let now = self.failures.clock.elapsed();
        let max = self.failures.max_logins;
        self.failures
            .for_each_key(self.client, max, |history, max| {
                history.logins.add(max, now);
            });
    }
}

/// The failures of one client.
#[derive(Debug, Default)]
struct FailureHistory {
    logins: FailureCounter,
    rejected_tokens: FailureCounter,
    /// A ring of the fingerprints of the last tokens in this minute.
    tokens: [Option<NonZeroU32>; MAX_TOKENS],
    /// The next position in the ring; it wraps.
    next: u8,
}

/// The failures of one kind. Times are durations since the start of the clock.
#[derive(Debug, Default)]
struct FailureCounter {
    /// Failures in the current minute.
    count: u32,
    /// The end of the current minute.
    window_end: Duration,
    /// The end of the block.
    blocked_until: Duration,
}

impl FailureCounter {
    /// Begins a new minute if the last one has ended; returns whether it did.
    fn roll(&mut self, now: Duration) -> bool {
        let is_over = self.window_end <= now;
        if is_over {
            (self.count, self.window_end) = (0, now + FAILURE_WINDOW);
        }
        is_over
    }

    /// Counts a failure at the time `now`, and blocks the client at `max` of them.
    fn add(&mut self, max: u32, now: Duration) {
        self.roll(now);
        self.count = self.count.saturating_add(1);
        if self.count >= max {
            self.blocked_until = now + FAILURE_WINDOW;
        }
    }

    /// Returns the failures in the current minute.
    fn count_at(&self, now: Duration) -> u32 {
        if self.window_end > now { self.count } else { 0 }
    }

    /// Returns the rank in an eviction; see [`Evictable`].
    fn eviction_priority(&self, now: Duration) -> EvictionPriority {
        match (self.blocked_until > now, self.count_at(now)) {
            (true, _) => EvictionPriority::Kept,
            (false, 0) => EvictionPriority::Nothing,
            (false, count) => EvictionPriority::Some(Duration::from_secs(count.into())),
        }
    }
}

impl FailureHistory {
    /// Counts a rejected token. Returns false, and counts nothing, if `token` was rejected
    /// before in this minute.
    fn add_token(&mut self, token: Option<NonZeroU32>, max: u32, now: Duration) -> bool {
        if self.rejected_tokens.roll(now) {
            (self.tokens, self.next) = ([None; MAX_TOKENS], 0);
        }
        if token.is_some_and(|token| self.remember_token(token)) {
            return false;
        }
        self.rejected_tokens.add(max, now);
        true
    }

    /// Adds `token` to the last tokens; returns whether it was one of them already.
    fn remember_token(&mut self, token: NonZeroU32) -> bool {
        let is_known = self.tokens.contains(&Some(token));
        if !is_known {
            // 256 is a multiple of `MAX_TOKENS`, so wrapping keeps the order of the ring.
            let position = usize::from(self.next) % MAX_TOKENS;
            self.tokens[position] = Some(token);
            self.next = self.next.wrapping_add(1);
        }
        is_known
    }
}

impl Evictable for FailureHistory {
    fn eviction_priority(&self, now: Duration) -> EvictionPriority {
        let logins = self.logins.eviction_priority(now);
        logins.max(self.rejected_tokens.eviction_priority(now))
    }
}

impl LoginFailures {
    /// Creates counters that block a client at `max_logins` failed log-ins or at `max_tokens`
    /// rejected tokens in a minute, and a site at its multiple of that.
    pub(super) fn new(max_logins: PositiveCount, max_tokens: PositiveCount) -> Self {
        let clock = TokioClock::new();
        Self {
            table: ClientTable::new(clock),
            sites: ClientTable::of_sites(clock),
            attempts: ClientConcurrency::default(),
            clock,
            max_logins,
            max_tokens,
        }
    }

    /// Returns the bytes of full tables.
    #[cfg(test)]
    pub(super) fn max_bytes() -> usize {
        ClientTable::<FailureHistory>::max_bytes()
            + ClientTable::<FailureHistory>::most_bytes_of_sites()
    }

    /// Begins a log-in of `client`.
    ///
    /// # Errors
    /// `Blocked` if the client or its site is blocked, `Busy` if too many of its log-ins are
    /// under way.
    pub(super) fn begin(self: &Arc<Self>, client: ClientKeys) -> Result<LoginAttempt, LoginDenial> {
        let now = self.clock.elapsed();
        let (mut blocked_until, mut may_fail) = (Duration::ZERO, u32::MAX);
        self.for_each_key(client, self.max_logins, |history, max| {
            let logins = &history.logins;
            blocked_until = blocked_until.max(logins.blocked_until);
            may_fail = may_fail.min(max.saturating_sub(logins.count_at(now)));
        });
        if blocked_until > now {
            return Err(LoginDenial::Blocked(blocked_until - now));
        }
        let at_once = PositiveCount::new(may_fail.max(1));
        let permit = self.attempts.acquire(client, at_once);
        Ok(LoginAttempt {
            failures: Arc::clone(self),
            client,
            _permit: permit.ok_or(LoginDenial::Busy)?,
        })
    }

    /// Counts a token of `client` that was rejected, given by its fingerprint.
    pub(super) fn record_token(&self, client: ClientKeys, token: Option<NonZeroU32>) {
        let now = self.clock.elapsed();
        let is_new = self.table.with_entry(client.client(), |history| {
            history.add_token(token, self.max_tokens.get(), now)
        });
        // A token that does not count for its client does not count for the site either.
        if let Some(site) = client.site().filter(|_| is_new) {
            self.sites.with_entry(site.key, |history| {
                history.add_token(None, site.most(self.max_tokens), now)
            });
        }
    }

    /// Checks whether `client` may open a session.
    ///
    /// # Errors
    /// Returns the time that the client must wait if it or its site is blocked.
    pub(super) fn check_tokens(&self, client: ClientKeys) -> Result<(), Duration> {
        let now = self.clock.elapsed();
        let mut blocked_until = Duration::ZERO;
        self.for_each_key(client, self.max_tokens, |history, _| {
            blocked_until = blocked_until.max(history.rejected_tokens.blocked_until);
        });
        if blocked_until > now {
            Err(blocked_until - now)
        } else {
            Ok(())
        }
    }

    /// Calls `act` with the history of `client` and of its site, and with the maximum of each.
    fn for_each_key(
        &self,
        client: ClientKeys,
        max: PositiveCount,
        mut act: impl FnMut(&mut FailureHistory, u32),
    ) {
        self.table
            .with_entry(client.client(), |history| act(history, max.get()));
        if let Some(site) = client.site() {
            self.sites
                .with_entry(site.key, |history| act(history, site.most(max)));
        }
    }

    /// Frees the state of clients without recent failures.
    pub(super) fn forget_idle(&self) {
        self.table.forget_idle();
        self.sites.forget_idle();
    }
}

/// The time in which failures count together, and for which a client is blocked.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// Tokens that are recognized as repeated; more than the phones with an expired token that
/// usually share one address.
const MAX_TOKENS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client_ip::ClientIp;

    fn failures(max_logins: u32, max_tokens: u32) -> Arc<LoginFailures> {
        let count = PositiveCount::new;
        Arc::new(LoginFailures::new(count(max_logins), count(max_tokens)))
    }

    fn client(last: u8) -> ClientKeys {
        ClientIp::new([192, 0, 2, last].into()).key(64).into()
    }

    fn denial(begun: Result<LoginAttempt, LoginDenial>) -> Option<LoginDenial> {
        begun.err()
    }

    #[tokio::test(start_paused = true)]
    async fn client_with_too_many_failures_waits_a_minute_alone() {
        let failures = failures(3, 100);
        for _ in 0..3 {
            failures.begin(client(1)).unwrap().fail();
        }
        let blocked = LoginDenial::Blocked(FAILURE_WINDOW);
        assert_eq!(denial(failures.begin(client(1))), Some(blocked));
        assert_eq!(denial(failures.begin(client(2))), None);
        assert_eq!(failures.check_tokens(client(1)), Ok(()));
        tokio::time::advance(FAILURE_WINDOW).await;
        failures.begin(client(1)).unwrap().fail();
        assert_eq!(denial(failures.begin(client(1))), None, "a new minute");
        tokio::time::advance(FAILURE_WINDOW).await;
        failures.forget_idle();
        assert_eq!(failures.table.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn successful_logins_are_not_counted() {
        let failures = failures(3, 100);
        for _ in 0..100 {
            drop(failures.begin(client(1)).unwrap());
        }
        assert_eq!(denial(failures.begin(client(1))), None);
    }

    /// Their results are not known when the last one begins.
    #[tokio::test(start_paused = true)]
    async fn guesses_at_once_do_not_exceed_the_maximum() {
        let failures = failures(3, 100);
        failures.begin(client(1)).unwrap().fail();
        let guesses = [(); 2].map(|()| failures.begin(client(1)).unwrap());
        assert_eq!(denial(failures.begin(client(1))), Some(LoginDenial::Busy));
        let [first, second] = guesses;
        drop(first);
        assert_eq!(denial(failures.begin(client(1))), None);
        second.fail();
        failures.begin(client(1)).unwrap().fail();
        let blocked = LoginDenial::Blocked(FAILURE_WINDOW);
        assert_eq!(denial(failures.begin(client(1))), Some(blocked));
    }

    #[tokio::test(start_paused = true)]
    async fn same_token_tried_again_is_not_a_new_guess() {
        let failures = failures(3, 3);
        for _ in 0..100 {
            failures.record_token(client(1), NonZeroU32::new(1));
            failures.record_token(client(1), NonZeroU32::new(2));
        }
        assert_eq!(failures.check_tokens(client(1)), Ok(()));
        failures.record_token(client(1), NonZeroU32::new(3));
        assert_eq!(failures.check_tokens(client(1)), Err(FAILURE_WINDOW));
        // A desk whose tokens have expired logs in.
        assert_eq!(denial(failures.begin(client(1))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn token_guesses_push_each_other_out_and_each_counts() {
        let failures = failures(3, 100);
        for guess in 1..=100 {
            assert_eq!(failures.check_tokens(client(1)), Ok(()));
            failures.record_token(client(1), NonZeroU32::new(guess));
        }
        assert_eq!(failures.check_tokens(client(1)), Err(FAILURE_WINDOW));
    }
}
