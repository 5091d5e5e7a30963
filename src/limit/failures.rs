//! Log-ins and tokens that were refused: who guesses has to wait.

use std::time::Duration;

use super::bounded::{Bounded, Remembered, Worth};
use super::clock::TokioClock;
use crate::client::ClientKey;
use crate::units::Count;

/// Counts what was refused of each client. After so many within a minute the
/// client waits for a minute.
#[derive(Debug)]
pub(super) struct Failures {
    table: Bounded<Failed>,
    clock: TokioClock,
    most: u32,
}

#[derive(Debug, Default)]
struct Failed {
    count: u32,
    /// When the minute of `count` is over.
    ends: Duration,
    /// Until when the client waits.
    barred: Duration,
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
    /// At most `most` in a minute.
    pub(super) fn new(most: Count) -> Self {
        let clock = TokioClock::new();
        Self {
            table: Bounded::new(clock),
            clock,
            most: most.get(),
        }
    }

    /// The bytes that its table takes when it is full.
    #[cfg(test)]
    pub(super) fn most_bytes() -> usize {
        Bounded::<Failed>::most_bytes()
    }

    /// `client` was refused once more.
    pub(super) fn add(&self, client: ClientKey) {
        let now = self.clock.elapsed();
        self.table.with(client, |failed| {
            if failed.ends <= now {
                failed.count = 0;
                failed.ends = now + MINUTE;
            }
            failed.count = failed.count.saturating_add(1);
            if failed.count >= self.most {
                failed.barred = now + MINUTE;
            }
        });
    }

    /// Whether `client` may try again.
    ///
    /// # Errors
    /// It may not: how long it has to wait.
    pub(super) fn check(&self, client: ClientKey) -> Result<(), Duration> {
        let now = self.clock.elapsed();
        let barred = self.table.with(client, |failed| failed.barred);
        match barred > now {
            true => Err(barred - now),
            false => Ok(()),
        }
    }

    pub(super) fn forget_idle(&self) {
        self.table.forget_idle();
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientIp;

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_waits_a_minute_and_nobody_else_does() {
        let failures = Failures::new(Count::new(3));
        let client = |last| ClientIp::new([192, 0, 2, last].into()).key(64);
        for _ in 0..2 {
            failures.add(client(1));
            assert_eq!(failures.check(client(1)), Ok(()));
        }
        failures.add(client(1));
        assert_eq!(failures.check(client(1)), Err(MINUTE));
        assert_eq!(failures.check(client(2)), Ok(()));
        tokio::time::advance(MINUTE).await;
        assert_eq!(failures.check(client(1)), Ok(()));
        failures.add(client(1));
        assert_eq!(failures.check(client(1)), Ok(()), "a new minute");
        tokio::time::advance(MINUTE).await;
        failures.forget_idle();
        assert_eq!(failures.table.len(), 0);
    }
}
