//! Log-ins and tokens that were refused: who guesses has to wait.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ClientKeys;
use super::bounded::{Bounded, Remembered, Worth};
use super::clock::TokioClock;
use crate::units::PositiveCount;

/// Counts what was refused of each client. After so many within a minute the
/// client waits for a minute. The same token again is no other guess: one phone
/// that goes on with an old one must not bar all who share its address.
#[derive(Debug)]
pub(super) struct Failures {
    table: Bounded<Failed>,
    sites: Bounded<Failed>,
    clock: TokioClock,
    most: PositiveCount,
}

#[derive(Debug, Default)]
struct Failed {
    count: u32,
    /// When the minute of `count` is over.
    ends: Duration,
    /// Until when the client waits.
    barred: Duration,
    /// The tokens of this minute, the last ones in turn.
    tokens: [Option<NonZeroU32>; TOKENS],
    next: u8,
}

impl Failed {
    /// One more at `now`, of `most` in a minute; false if `token` is not new.
    fn add(&mut self, token: Option<NonZeroU32>, most: u32, now: Duration) -> bool {
        if self.ends <= now {
            let barred = self.barred;
            *self = Self {
                ends: now + MINUTE,
                barred,
                ..Self::default()
            };
        }
        if token.is_some_and(|token| self.knows(token)) {
            return false;
        }
        self.count = self.count.saturating_add(1);
        if self.count >= most {
            self.barred = now + MINUTE;
        }
        true
    }

    /// Whether `token` was among the last ones; from now on it is.
    fn knows(&mut self, token: NonZeroU32) -> bool {
        let known = self.tokens.contains(&Some(token));
        if !known {
            let place = usize::from(self.next) % TOKENS;
            self.tokens[place] = Some(token);
            self.next = self.next.wrapping_add(1);
        }
        known
    }
}

impl Remembered for Failed {
    fn worth(&self, now: Duration) -> Worth {
        match (self.barred > now, self.ends > now) {
            (true, _) => Worth::Kept,
            (false, true) => Worth::Some(Duration::from_secs(self.count.into())),
            (false, false) => Worth::Nothing,
        }
    }
}

impl Failures {
    /// At most `most` in a minute, and of a site the multiple of that.
    pub(super) fn new(most: PositiveCount) -> Self {
        let clock = TokioClock::new();
        Self {
            table: Bounded::new(clock),
            sites: Bounded::of_sites(clock),
            clock,
            most,
        }
    }

    /// The bytes that its tables take when they are full.
    #[cfg(test)]
    pub(super) fn most_bytes() -> usize {
        Bounded::<Failed>::most_bytes() + Bounded::<Failed>::most_bytes_of_sites()
    }

    /// `client` was refused once more; by `token`, or by what cannot be told apart.
    pub(super) fn add(&self, client: ClientKeys, token: Option<NonZeroU32>) {
        let (now, most) = (self.clock.elapsed(), self.most.get());
        let add = |failed: &mut Failed| failed.add(token, most, now);
        let counts = self.table.with(client.client(), add);
        // An old token is none of its site's guesses either.
        if let Some(site) = client.site().filter(|_| counts) {
            let add = |failed: &mut Failed| failed.add(None, site.most(self.most), now);
            self.sites.with(site.key, add);
        }
    }

    /// Whether `client` may try again.
    ///
    /// # Errors
    /// It may not, or its site may not: how long it has to wait.
    pub(super) fn check(&self, client: ClientKeys) -> Result<(), Duration> {
        let now = self.clock.elapsed();
        let own = self.table.with(client.client(), |failed| failed.barred);
        let site = client.site();
        let site = site.map(|site| self.sites.with(site.key, |failed| failed.barred));
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

const MINUTE: Duration = Duration::from_secs(60);
/// As many phones with an old token as share one address, and some.
const TOKENS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientIp;

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_waits_a_minute_and_nobody_else_does() {
        let failures = Failures::new(PositiveCount::new(3));
        let client = |last| ClientIp::new([192, 0, 2, last].into()).key(64).into();
        for _ in 0..2 {
            failures.add(client(1), None);
            assert_eq!(failures.check(client(1)), Ok(()));
        }
        failures.add(client(1), None);
        assert_eq!(failures.check(client(1)), Err(MINUTE));
        assert_eq!(failures.check(client(2)), Ok(()));
        tokio::time::advance(MINUTE).await;
        assert_eq!(failures.check(client(1)), Ok(()));
        failures.add(client(1), None);
        assert_eq!(failures.check(client(1)), Ok(()), "a new minute");
        tokio::time::advance(MINUTE).await;
        failures.forget_idle();
        assert_eq!(failures.table.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_token_again_is_no_other_guess() {
        let failures = Failures::new(PositiveCount::new(3));
        let client = ClientIp::new([192, 0, 2, 1].into()).key(64).into();
        for _ in 0..100 {
            failures.add(client, NonZeroU32::new(1));
            failures.add(client, NonZeroU32::new(2));
        }
        assert_eq!(failures.check(client), Ok(()));
        failures.add(client, NonZeroU32::new(3));
        assert_eq!(failures.check(client), Err(MINUTE));
        // Guesses push each other out, and each counts.
        tokio::time::advance(MINUTE).await;
        let failures = Failures::new(PositiveCount::new(100));
        for guess in 1..=100 {
            assert_eq!(failures.check(client), Ok(()));
            failures.add(client, NonZeroU32::new(guess));
        }
        assert_eq!(failures.check(client), Err(MINUTE));
    }
}
