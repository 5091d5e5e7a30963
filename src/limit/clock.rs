//! The clock of all limits: tokio's, so that tests can pause it, behind governor's trait.

use std::time::Duration;

use governor::clock::Clock;
use tokio::time::Instant;

/// A governor clock over tokio's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokioClock {
    start: Instant,
}

impl TokioClock {
    /// Creates a clock that starts at zero now.
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Returns the time since the clock was created.
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
