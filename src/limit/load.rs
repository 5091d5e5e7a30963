//! How much the edge carries, and whether it should take on more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Connections;
use crate::units::PositiveCount;

/// What there is in all. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Load {
    connections: Connections,
    /// From here on no more sessions: they would hold their places for long.
    full: usize,
    /// Whether there is more memory in use than there should be.
    heavy: Arc<AtomicBool>,
}

impl Load {
    /// Of `connections`, of which there may be `all`.
    pub fn new(connections: Connections, all: PositiveCount) -> Self {
        Self {
            connections,
            full: all.size() - all.size() / 10,
            heavy: Arc::default(),
        }
    }

    /// Whether new connections should wait.
    pub fn is_heavy(&self) -> bool {
        self.heavy.load(Relaxed)
    }

    /// Whether new sessions should come back later.
    pub fn is_full(&self) -> bool {
        self.is_heavy() || self.connections.held() > self.full
    }

    /// Notes that `memory` bytes are in use, of which there should be `most`.
    /// Above that it is heavy, until a twentieth is free again. Returns what is
    /// new.
    pub fn weigh(&self, memory: u64, most: Option<u64>) -> Option<bool> {
        let was = self.is_heavy();
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
        let load = Load::new(
            Connections::new(PositiveCount::new(10)),
            PositiveCount::new(10),
        );
        assert_eq!(load.weigh(100, Some(100)), None);
        assert_eq!(load.weigh(101, Some(100)), Some(true));
        assert!(load.is_heavy() && load.is_full());
        assert_eq!(load.weigh(96, Some(100)), None);
        assert!(load.is_heavy());
        assert_eq!(load.weigh(95, Some(100)), Some(false));
        assert!(!load.is_full());
        assert_eq!(load.weigh(1000, None), None);
    }
}
