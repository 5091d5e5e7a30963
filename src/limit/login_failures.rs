//! Log-ins and tokens that were refused: who guesses has to wait.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ClientKeys;
use super::client_table::{ClientTable, Evictable, EvictionPriority};
use super::clock::TokioClock;
use crate::core::units::PositiveCount;

/// Counts what was refused of each client. After so many within a minute the
/// client waits for a minute. The same token again is no other guess: one phone
/// that goes on with an old one must not bar all who share its address.
#[derive(Debug)]
pub(super) struct LoginFailures {
    table: ClientTable<FailureHistory>,
    sites: ClientTable<FailureHistory>,
    clock: TokioClock,
    most: PositiveCount,
}

#[derive(Debug, Default)]
struct FailureHistory {
    count: u32,
    /// When the minute of `count` is over.
    ends: Duration,
    /// Until when the client waits.
    barred: Duration,
    /// The tokens of this minute, the last ones in turn.
    tokens: [Option<NonZeroU32>; MAX_TOKENS],
    next: u8,
}

impl FailureHistory {
    /// One more at `now`, of `most` in a minute; false if `token` is not new.
    fn add(&mut self, token: Option<NonZeroU32>, most: u32, now: Duration) -> bool {
        if self.ends <= now {
            let barred = self.barred;
            *self = Self {
                ends: now + FAILURE_WINDOW,
                barred,
                ..Self::default()
            };
        }
        if token.is_some_and(|token| self.remember_token(token)) {
            return false;
        }
        self.count = self.count.saturating_add(1);
        if self.count >= most {
            self.barred = now + FAILURE_WINDOW;
        }
        true
    }

    /// Whether `token` was among the last ones; from now on it is.
    fn remember_token(&mut self, token: NonZeroU32) -> bool {
        let known = self.tokens.contains(&Some(token));
        if !known {
            let place = usize::from(self.next) % MAX_TOKENS;
            self.tokens[place] = Some(token);
            self.next = self.next.wrapping_add(1);
        }
        known
    }
}

impl Evictable for FailureHistory {
    fn eviction_priority(&self, now: Duration) -> EvictionPriority {
        match (self.barred > now, self.ends > now) {
            (true, _) => EvictionPriority::Kept,
            (false, true) => EvictionPriority::Some(Duration::from_secs(self.count.into())),
            (false, false) => EvictionPriority::Nothing,
        }
    }
}

impl LoginFailures {
    /// At most `most` in a minute, and of a site the multiple of that.
    pub(super) fn new(most: PositiveCount) -> Self {
        let clock = TokioClock::new();
        Self {
            table: ClientTable::new(clock),
            sites: ClientTable::of_sites(clock),
            clock,
            most,
        }
    }

    /// The bytes that its tables take when they are full.
    #[cfg(test)]
    pub(super) fn max_bytes() -> usize {
        ClientTable::<FailureHistory>::max_bytes()
            + ClientTable::<FailureHistory>::most_bytes_of_sites()
    }

    /// `client` was refused once more; by `token`, or by what cannot be told apart.
    pub(super) fn record(&self, client: ClientKeys, token: Option<NonZeroU32>) {
        let (now, most) = (self.clock.elapsed(), self.most.get());
        let add = |failed: &mut FailureHistory| failed.add(token, most, now);
        let counts = self.table.with_entry(client.client(), add);
        // An old token is none of its site's guesses either.
        if let Some(site) = client.site().filter(|_| counts) {
            let add = |failed: &mut FailureHistory| failed.add(None, site.most(self.most), now);
            self.sites.with_entry(site.key, add);
        }
    }

    /// Whether `client` may try again.
    ///
    /// # Errors
    /// It may not, or its site may not: how long it has to wait.
    pub(super) fn check(&self, client: ClientKeys) -> Result<(), Duration> {
        let now = self.clock.elapsed();
        let own = self
            .table
            .with_entry(client.client(), |failed| failed.barred);
        let site = client.site();
        let site = site.map(|site| self.sites.with_entry(site.key, |failed| failed.barred));
        let barred = own.max(site.unwrap_or_default());
        if barred > now {
            Err(barred - now)
        } else {
            Ok(())
        }
    }

    pub(super) fn forget_idle(&self) {
        self.table.forget_idle();
        self.sites.forget_idle();
    }
}

const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// As many phones with an old token as share one address, and some.
const MAX_TOKENS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client::ClientIp;

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_waits_a_minute_and_nobody_else_does() {
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
    async fn the_same_token_again_is_no_other_guess() {
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
