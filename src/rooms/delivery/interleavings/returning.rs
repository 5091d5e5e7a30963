//! A session that returns while events are published, dropped, and while its room is dropped.

use super::super::super::Recovery;
use super::super::super::history::Gap;
use super::*;
use crate::core::units::ByteSize;

const ALL: &[&str] = &["[a 1]", "[a 2]", "[a 3]", "[a 4]"];

impl Desk {
    /// Rooms that keep so much memory of events.
    fn with_memory(bytes: u32) -> Self {
        let history = HistorySettings {
            max_memory: ByteSize::bytes(bytes),
            ..HistorySettings::default()
        };
        Self::with_history(1, history)
    }

    /// Publishes [`ALL`] while a session joins, whose client has got nothing of it. Checks that
    /// it gets all, or all after the position that it hears together with the gap.
    fn check_return_during_publications(&self) {
        let since = self.rooms.history.as_ref().unwrap().position();
        let publisher = self.publish_all(ALL);
        let mut first = 0;
        let expected = |joined: &Joined| {
            let position = joined.position.unwrap();
            match joined.recovery.unwrap() {
                Recovery::Complete(missed) => assert_eq!(missed as u64, position.offset),
                Recovery::Incomplete(gap) => {
                    assert_eq!(gap, Gap::TooOld);
                    first = usize::try_from(position.offset).unwrap();
                }
            }
            ALL.len() - first
        };
        let tab = self.tab_since(Some(Since::Position(since)), 100, expected, None);
        block_on(publisher).unwrap();
        if first < ALL.len() {
            block_on(tab.got_all.notified());
        }
        tab.outbox.evict(Eviction::Disconnected);
        let (_, frames) = tab.finish();
        assert_eq!(frames, ALL[first..]);
    }

    /// Checks that no room stays in memory once everything is over.
    fn check_rooms_are_dropped(&self) {
        self.rooms
            .history
            .as_ref()
            .unwrap()
            .enforce_retention(&self.rooms);
        assert!(self.rooms.all().is_empty());
    }
}

#[test]
fn session_that_returns_during_publications_receives_each_once() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::new(1);
        desk.check_return_during_publications();
        desk.finish();
    });
}

#[test]
fn session_that_returns_while_events_are_dropped_hears_of_a_gap_or_receives_each() {
    check_interleavings(ITERATIONS, || {
        // Two events.
        let desk = Desk::with_memory(600);
        desk.check_return_during_publications();
        desk.finish();
    });
}

/// Nothing is kept for longer than a publication takes, so a room without members is dropped
/// with its events.
#[test]
fn session_that_returns_while_its_empty_room_is_dropped_hears_of_a_gap_or_receives_each() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::with_memory(1);
        let earlier = desk.tab(100, 0, None);
        earlier.outbox.evict(Eviction::Disconnected);
        desk.check_return_during_publications();
        earlier.finish();
        desk.check_rooms_are_dropped();
        desk.finish();
    });
}
