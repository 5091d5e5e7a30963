//! The clock of all limits: tokio's, so that tests can pause it.

use std::time::Duration;

use governor::clock::Clock;
use tokio::time::Instant;

/// tokio's clock in the form that governor asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokioClock {
    start: Instant,
}

impl TokioClock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Since the clock was made.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.elapsed()
    }
}
