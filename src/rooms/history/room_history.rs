//! The events that one room keeps for sessions that return.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::publication::Publication;

/// The kept events of a room, the oldest first. Guarded by the room's lock.
#[derive(Debug)]
pub(in crate::rooms) struct RoomHistory {
    /// Every event of the room with a higher offset is kept.
    floor: u64,
    kept: VecDeque<Arc<Publication>>,
}

impl RoomHistory {
    /// Creates a history that holds all events after the offset `floor`: none yet.
    pub(in crate::rooms) fn new(floor: u64) -> Self {
        Self {
            floor,
            kept: VecDeque::new(),
        }
    }

    /// Keeps `publication`, which is newer than all others. Drops the oldest beyond
    /// `max_events`, and returns their memory in bytes.
    pub(super) fn push(&mut self, publication: Arc<Publication>, max_events: usize) -> usize {
        self.kept.push_back(publication);
        let mut freed = 0;
        while self.kept.len() > max_events {
            freed += self.pop_oldest();
        }
        freed
    }

    /// Drops all events up to `offset`, and returns their memory in bytes.
    pub(in crate::rooms) fn drop_through(&mut self, offset: u64) -> usize {
        let mut freed = 0;
        while self
            .kept
            .front()
            .is_some_and(|oldest| offset_of(oldest) <= offset)
        {
            freed += self.pop_oldest();
        }
        freed
    }

    /// Returns the events after `offset`, or `None` if some of them are no longer kept.
    pub(super) fn since(&self, offset: u64) -> Option<Vec<&Arc<Publication>>> {
        if offset < self.floor {
            return None;
        }
        let first = self.kept.partition_point(|kept| offset_of(kept) <= offset);
        Some(self.kept.range(first..).collect())
    }

    /// Returns the event at `offset`, if it is kept.
    pub(in crate::rooms) fn event(&self, offset: u64) -> Option<Arc<Publication>> {
        let found = self
            .kept
            .binary_search_by_key(&offset, |kept| offset_of(kept));
        found.ok().map(|index| Arc::clone(&self.kept[index]))
    }

    /// Returns the newest offset of the room that is not kept, or a higher one; `None` if the
    /// room keeps events.
    pub(in crate::rooms) fn floor_if_empty(&self) -> Option<u64> {
        self.kept.is_empty().then_some(self.floor)
    }

    fn pop_oldest(&mut self) -> usize {
        let Some(oldest) = self.kept.pop_front() else {
            return 0;
        };
        self.floor = offset_of(&oldest);
        oldest.memory()
    }
}

fn offset_of(publication: &Publication) -> u64 {
    publication.position().map_or(0, |position| position.offset)
}
