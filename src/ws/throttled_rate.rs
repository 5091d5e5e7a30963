//! A rate of one session, and for how long its client has been over it.

use std::time::Duration;

use tokio::time::Instant;

use super::Settings;
use crate::core::units::PositiveCount;
use crate::limit::SessionRate;

/// A rate, and for how long the client has been over it.
#[derive(Debug)]
pub(super) struct ThrottledRate {
    rate: SessionRate,
    burst: PositiveCount,
    /// The time of the first operation over the rate since the last one that ran without a
    /// wait.
    exceeded_since: Option<Instant>,
}

impl ThrottledRate {
    /// Creates a rate with `burst` at once, which is that of `rate`.
    fn new(rate: SessionRate, burst: PositiveCount) -> Self {
        Self {
            rate,
            burst,
            exceeded_since: None,
        }
    }

    /// Creates the rate of a session's messages.
    pub(super) fn messages(settings: &Settings) -> Self {
        let burst = settings.message_burst;
        let rate = SessionRate::per_second(settings.messages_per_second, burst);
        Self::new(rate, burst)
    }

    /// Creates the rate of the bytes in a session's messages.
    pub(super) fn bytes(settings: &Settings) -> Self {
        let count = |n: usize| PositiveCount::new(u32::try_from(n).unwrap_or(u32::MAX));
        let bytes = settings.bytes_per_second.get();
        // A message of the maximum size must pass at once.
        let burst = count(bytes.max(settings.max_message_size.get()));
        Self::new(SessionRate::per_second(count(bytes), burst), burst)
    }

    /// Creates the rate of a session's joins.
    pub(super) fn joins(settings: &Settings) -> Self {
        let burst = settings.join_burst;
        Self::new(
            SessionRate::per_minute(settings.joins_per_minute, burst),
            burst,
        )
    }

    /// Counts `n` events at once, of an operation that was paused before or not.
    ///
    /// # Errors
    /// By how much the client is over the rate. The events are not counted then.
    pub(super) fn count(&mut self, n: usize, was_paused: bool) -> Result<(), Excess> {
        match self.check(n) {
            Ok(()) => {
                // An operation that had to wait is no sign that the client has slowed down.
                if !was_paused {
                    self.exceeded_since = None;
                }
                Ok(())
            }
            Err(wait) => {
                let since = self.exceeded_since.get_or_insert_with(Instant::now);
                let lasted = since.elapsed();
                Err(Excess { wait, lasted })
            }
        }
    }

    /// Counts `n` events at once.
    ///
    /// # Errors
    /// Returns the time until they pass if the session is over its rate.
    pub(super) fn check(&self, n: usize) -> Result<(), Duration> {
        self.rate.check(n, self.burst)
    }
}

/// By how much a client is over a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excess {
    /// The time until the operation passes.
    pub(super) wait: Duration,
    /// For how long the client has been over the rate.
    pub(super) lasted: Duration,
}
