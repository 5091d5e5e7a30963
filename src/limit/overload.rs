//! How much the edge carries, and whether it should take on more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::ConcurrencyLimit;
use crate::core::units::PositiveCount;

/// What there is in all. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct OverloadMonitor {
    connections: ConcurrencyLimit,
    /// From here on no more sessions: they would hold their places for long.
    full: usize,
    /// Whether there is more memory in use than there should be.
    heavy: Arc<AtomicBool>,
}

impl OverloadMonitor {
    /// Of `connections`, of which there may be `all`.
    pub fn new(connections: ConcurrencyLimit, all: PositiveCount) -> Self {
        Self {
            connections,
            full: all.size() - all.size() / 10,
            heavy: Arc::default(),
        }
    }

    /// Whether new connections should wait.
    pub fn is_overloaded(&self) -> bool {
        self.heavy.load(Relaxed)
    }

    /// Whether new sessions should come back later.
    pub fn is_full(&self) -> bool {
        self.is_overloaded() || self.connections.in_use() > self.full
    }

    /// Notes that `memory` bytes are in use, of which there should be `most`.
    /// Above that it is heavy, until a twentieth is free again. Returns what is
    /// new.
    pub fn update_memory(&self, memory: u64, most: Option<u64>) -> Option<bool> {
        let was = self.is_overloaded();
        let is = most.is_some_and(|most| memory > if was { most - most / 20 } else { most });
        self.heavy.store(is, Relaxed);
        (is != was).then_some(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stays_heavy_until_there_is_room_to_spare() {
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
