//! Overload protection: rejects new sessions when connections run out, and holds up new
//! connections when memory does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::ConcurrencyLimit;
use crate::core::units::PositiveCount;

/// Monitors the load of the whole process. Cheap to clone; clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct OverloadMonitor {
    connections: ConcurrencyLimit,
    /// The number of connections above which no more sessions are accepted. Sessions hold
    /// their connections for long, so the last tenth is left to plain requests.
    max_for_sessions: usize,
    /// Whether more memory is in use than allowed.
    is_over_memory: Arc<AtomicBool>,
}

impl OverloadMonitor {
    /// Creates a monitor of `connections`, whose limit is `all`.
    pub(crate) fn new(connections: ConcurrencyLimit, all: PositiveCount) -> Self {
        Self {
            connections,
            max_for_sessions: all.size() - all.size() / 10,
            is_over_memory: Arc::default(),
        }
    }

    /// Returns whether new connections should wait, since memory is short.
    pub(crate) fn is_overloaded(&self) -> bool {
        self.is_over_memory.load(Relaxed)
    }

    /// Returns whether new sessions should be rejected.
    pub(crate) fn is_full(&self) -> bool {
        self.is_overloaded() || self.connections.in_use() > self.max_for_sessions
    }

    /// Updates the monitor with `memory` bytes in use, of `max` allowed. The overload
    /// begins above `max` and ends a twentieth below it, so that it does not flap. Returns
    /// the new state if it has changed.
    pub(crate) fn update_memory(&self, memory: u64, max: Option<u64>) -> Option<bool> {
        let was_over = self.is_overloaded();
        let is_over = max.is_some_and(|max| memory > if was_over { max - max / 20 } else { max });
        self.is_over_memory.store(is_over, Relaxed);
        (is_over != was_over).then_some(is_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn overload_by_memory_ends_below_a_lower_threshold() {
        let load = OverloadMonitor::new(
            ConcurrencyLimit::new(PositiveCount::new(10)),
            PositiveCount::new(10),
        );
        assert_eq!(load.update_memory(100, Some(100)), None);
        assert_eq!(load.update_memory(101, Some(100)), Some(true));
        assert!(load.is_overloaded() && load.is_full());
        assert_eq!(load.update_memory(96, Some(100)), None);
        assert!(load.is_overloaded());
        assert_eq!(load.update_memory(95, Some(100)), Some(false));
        assert!(!load.is_full());
        assert_eq!(load.update_memory(1000, None), None);
    }
}
