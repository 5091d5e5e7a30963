//! Failed log-ins and rejected tokens: a client that guesses passwords or tokens is blocked
//! for a minute.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ClientKeys;
use super::client_table::{ClientTable, Evictable, EvictionPriority};
use super::clock::TokioClock;
use crate::core::units::PositiveCount;

/// Counts the failures of each client. After the maximum within a minute, the client is
/// blocked for a minute. Retries with the same token are not counted: one phone with an
/// expired token must not block all users behind its address.
#[derive(Debug)]
pub(super) struct LoginFailures {
    table: ClientTable<FailureHistory>,
    sites: ClientTable<FailureHistory>,
    clock: TokioClock,
    max_per_minute: PositiveCount,
}

/// The failures of one client. Times are durations since the start of the clock.
#[derive(Debug, Default)]
struct FailureHistory {
    /// Failures in the current minute.
    count: u32,
    /// The end of the current minute.
    window_end: Duration,
    /// The end of the block.
    blocked_until: Duration,
    /// A ring of the fingerprints of the last tokens in this minute.
    tokens: [Option<NonZeroU32>; MAX_TOKENS],
    /// The next position in the ring; it wraps.
    next: u8,
}

impl FailureHistory {
    /// Counts a failure at the time `now`, and blocks the client at `max` of them. Returns
    /// false, and counts nothing, if `token` has failed before in this minute.
    fn add(&mut self, token: Option<NonZeroU32>, max: u32, now: Duration) -> bool {
        if self.window_end <= now {
            *self = Self {
                window_end: now + FAILURE_WINDOW,
                blocked_until: self.blocked_until,
                ..Self::default()
            };
        }
        if token.is_some_and(|token| self.remember_token(token)) {
            return false;
        }
        self.count = self.count.saturating_add(1);
        if self.count >= max {
            self.blocked_until = now + FAILURE_WINDOW;
        }
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
        match (self.blocked_until > now, self.window_end > now) {
            (true, _) => EvictionPriority::Kept,
            (false, true) => EvictionPriority::Some(Duration::from_secs(self.count.into())),
            (false, false) => EvictionPriority::Nothing,
        }
    }
}

impl LoginFailures {
    /// Creates counters that block a client at `max_per_minute` failures, and a site at its
    /// multiple of that.
    pub(super) fn new(max_per_minute: PositiveCount) -> Self {
        let clock = TokioClock::new();
        Self {
            table: ClientTable::new(clock),
            sites: ClientTable::of_sites(clock),
            clock,
            max_per_minute,
        }
    }

    /// Returns the bytes of full tables.
    #[cfg(test)]
    pub(super) fn max_bytes() -> usize {
        ClientTable::<FailureHistory>::max_bytes()
            + ClientTable::<FailureHistory>::most_bytes_of_sites()
    }

    /// Counts a failure of `client`. `token` is the fingerprint of the rejected token; a
    /// failed log-in has none and always counts.
    pub(super) fn record(&self, client: ClientKeys, token: Option<NonZeroU32>) {
        let now = self.clock.elapsed();
        let is_new = self.table.with_entry(client.client(), |history| {
            history.add(token, self.max_per_minute.get(), now)
        });
        // A token that does not count for its client does not count for the site either.
        if let Some(site) = client.site().filter(|_| is_new) {
            self.sites.with_entry(site.key, |history| {
                history.add(None, site.most(self.max_per_minute), now)
            });
        }
    }

    /// Checks whether `client` may try again.
    ///
    /// # Errors
    /// Returns the time that the client must wait if it or its site is blocked.
    pub(super) fn check(&self, client: ClientKeys) -> Result<(), Duration> {
        let now = self.clock.elapsed();
        let client_blocked = self
            .table
            .with_entry(client.client(), |history| history.blocked_until);
        let site_blocked = client.site().map(|site| {
            self.sites
                .with_entry(site.key, |history| history.blocked_until)
        });
        let blocked_until = client_blocked.max(site_blocked.unwrap_or_default());
        if blocked_until > now {
            Err(blocked_until - now)
        } else {
            Ok(())
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

    #[tokio::test(start_paused = true)]
    async fn client_with_too_many_failures_waits_a_minute_alone() {
        let failures = LoginFailures::new(PositiveCount::new(3));
        let client = |last| ClientIp::new([192, 0, 2, last].into()).key(64).into();
        for _ in 0..2 {
            failures.record(client(1), None);
            assert_eq!(failures.check(client(1)), Ok(()));
        }
        failures.record(client(1), None);
        assert_eq!(failures.check(client(1)), Err(FAILURE_WINDOW));
        assert_eq!(failures.check(client(2)), Ok(()));
        tokio::time::advance(FAILURE_WINDOW).await;
        assert_eq!(failures.check(client(1)), Ok(()));
        failures.record(client(1), None);
        assert_eq!(failures.check(client(1)), Ok(()), "a new minute");
        tokio::time::advance(FAILURE_WINDOW).await;
        failures.forget_idle();
        assert_eq!(failures.table.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn same_token_tried_again_is_not_a_new_guess() {
        let failures = LoginFailures::new(PositiveCount::new(3));
        let client = ClientIp::new([192, 0, 2, 1].into()).key(64).into();
        for _ in 0..100 {
            failures.record(client, NonZeroU32::new(1));
            failures.record(client, NonZeroU32::new(2));
        }
        assert_eq!(failures.check(client), Ok(()));
        failures.record(client, NonZeroU32::new(3));
        assert_eq!(failures.check(client), Err(FAILURE_WINDOW));
        // Guesses push each other out, and each counts.
        tokio::time::advance(FAILURE_WINDOW).await;
        let failures = LoginFailures::new(PositiveCount::new(100));
        for guess in 1..=100 {
            assert_eq!(failures.check(client), Ok(()));
            failures.record(client, NonZeroU32::new(guess));
        }
        assert_eq!(failures.check(client), Err(FAILURE_WINDOW));
    }
}
