//! A session that returns while events are published and dropped, and rooms with them.

use super::super::super::Recovery;
use super::super::super::history::Gap;
use super::*;
use crate::core::units::ByteSize;

const ALL: &[&str] = &["[a 1]", "[a 2]", "[a 3]", "[a 4]"];

impl Desk {
    /// Rooms that keep so much memory of events.
    fn with_memory(schedulers: usize, bytes: u32) -> Self {
        let history = HistorySettings {
            max_memory: ByteSize::bytes(bytes),
            ..HistorySettings::default()
        };
        Self::with_history(schedulers, history)
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
                Recovery::Complete(_) => assert_eq!(position, since),
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

    /// Drops what is old in a task of its own, as the timers do, so that a publication is not the
    /// only one that drops.
    fn enforce_retention(&self) -> JoinHandle<()> {
        let rooms = Arc::clone(&self.rooms);
        spawn(async move {
            for _ in 0..2 {
                rooms.history.as_ref().unwrap().enforce_retention(&rooms);
            }
        })
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
        let desk = Desk::with_memory(1, 600);
        desk.check_return_during_publications();
        desk.finish();
    });
}

/// Nothing is kept for longer than a publication takes, so a room without members is dropped
/// with its events.
#[test]
fn session_that_returns_while_its_empty_room_is_dropped_hears_of_a_gap_or_receives_each() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::with_memory(1, 1);
        let earlier = desk.tab(100, 0, None);
        earlier.outbox.evict(Eviction::Disconnected);
        let retention = desk.enforce_retention();
        desk.check_return_during_publications();
        block_on(retention).unwrap();
        earlier.finish();
        block_on(desk.enforce_retention()).unwrap();
        assert!(desk.rooms.all().is_empty(), "a room stays in memory");
        desk.finish();
    });
}

/// Without sessions that write, so that the few locks come in most of their orders.
#[test]
fn event_is_not_hidden_from_a_session_that_returns_while_an_empty_room_is_dropped() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::with_memory(0, 1);
        let grant = Grant::for_test(room(), User::for_test(1));
        let join = |since| {
            let (outbox, inbox) = channel(100, 1024, None);
            let session = desk.ids.issue();
            let joined = desk.rooms.join(&grant, since, session, outbox.clone());
            (joined, outbox, inbox)
        };
        let (earlier, ..) = join(None);
        earlier.membership.leave();
        let publisher = desk.publish_all(&ALL[..2]);
        let retention = desk.enforce_retention();
        let (joined, outbox, _inbox) = join(earlier.position.map(Since::Position));
        block_on(publisher).unwrap();
        block_on(retention).unwrap();
        let unknown = match joined.recovery.unwrap() {
            Recovery::Complete(_) => 0,
            Recovery::Incomplete(_) => joined.position.unwrap().offset,
        };
        assert_eq!(outbox.queued_events() as u64 + unknown, 2);
        joined.membership.leave();
        desk.finish();
    });
}
