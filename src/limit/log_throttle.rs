//! The throttle of log events about exceeded limits.

use std::time::Duration;

use super::Limit;
use super::client_table::{ClientTable, Evictable, EvictionPriority};
use super::clock::TokioClock;
use super::rate::SessionRate;
use crate::core::client_ip::ClientKey;
use crate::core::units::PositiveCount;

/// The throttle of log events about exceeded limits: once per client and limit in
/// `LOG_INTERVAL`, and in total at a bounded rate.
#[derive(Debug)]
pub(super) struct LogThrottle {
    clients: ClientTable<QuietUntil>,
    /// The rate of events about all clients together.
    total: SessionRate,
    clock: TokioClock,
}

impl Default for LogThrottle {
    fn default() -> Self {
        let clock = TokioClock::new();
        Self {
            clients: ClientTable::new(clock),
            total: SessionRate::per_second(LOG_EVENTS_PER_SECOND, LOG_BURST),
            clock,
        }
    }
}

impl LogThrottle {
    /// Returns whether to log an event about `limit` and `client`.
    pub(super) fn should_log(&self, client: ClientKey, limit: Limit) -> bool {
        let now = self.clock.elapsed();
        let is_due = self
            .clients
            .with_entry(client, |quiet| quiet.restart_if_over(limit, now));
        is_due && self.total.check(1, LOG_BURST).is_ok()
    }

    /// Frees the state of clients whose events may be logged again.
    pub(super) fn forget_idle(&self) {
        self.clients.forget_idle();
    }
}

/// The second until which no further event about each limit is logged, for one client.
#[derive(Debug, Default)]
pub(super) struct QuietUntil([u32; Limit::COUNT]);

impl QuietUntil {
    /// Returns whether the quiet time of `limit` is over, and if so starts a new one.
    fn restart_if_over(&mut self, limit: Limit, now: Duration) -> bool {
        let until = &mut self.0[limit as usize];
        let is_over = u64::from(*until) <= now.as_secs();
        if is_over {
            *until = u32::try_from((now + LOG_INTERVAL).as_secs()).unwrap_or(u32::MAX);
        }
        is_over
    }
}

impl Evictable for QuietUntil {
    fn eviction_priority(&self, now: Duration) -> EvictionPriority {
        let until = self.0.into_iter().max().unwrap_or_default().into();
        if until > now.as_secs() {
            EvictionPriority::Some(Duration::from_secs(until))
        } else {
            EvictionPriority::Nothing
        }
    }
}

/// The time for which further events about the same client and limit are not logged.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Log events about exceeded limits, at once and per second, for all clients together.
const LOG_BURST: PositiveCount = PositiveCount::new(100);
const LOG_EVENTS_PER_SECOND: PositiveCount = PositiveCount::new(10);
