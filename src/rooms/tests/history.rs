//! What sessions that return get of the events that they have missed.

use proptest::prelude::*;

use super::super::history::Gap;
use super::*;
use crate::core::ids::UserId;
use crate::core::position::{Epoch, Position};
use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

impl Desk {
    /// A session that enters a room with the last position of an earlier one.
    fn back(&self, ticket: u64, since: Option<Since>) -> (Tab, Joined) {
        self.back_with_queue(ticket, since, 1024)
    }

    fn back_with_queue(&self, ticket: u64, since: Option<Since>, events: usize) -> (Tab, Joined) {
        let tab = self.tab_with_queue(9, events);
        let grant = Grant::for_test(room(ticket), tab.user.clone());
        let joined = self.rooms.join(&grant, since, tab.id, tab.outbox.clone());
        (tab, joined)
    }

    /// Enters a room and leaves it; returns the position there.
    fn look(&self, ticket: u64) -> Position {
        let (_tab, joined) = self.back(ticket, None);
        joined.membership.leave();
        joined.position.unwrap()
    }

    fn recover(&self, ticket: u64, since: Position) -> Option<Recovery> {
        let (_tab, joined) = self.back(ticket, Some(Since::Position(since)));
        joined.membership.leave();
        joined.recovery
    }
}

fn settings(change: impl FnOnce(&mut HistorySettings)) -> HistorySettings {
    let mut settings = HistorySettings::default();
    change(&mut settings);
    settings
}

#[tokio::test(start_paused = true)]
async fn returning_session_gets_the_missed_events_once_and_in_order() {
    let desk = Desk::new();
    let since = desk.look(7);
    desk.publish(7, "a");
    desk.publish(8, "elsewhere");
    desk.publish(7, "b");
    let (tab, joined) = desk.back(7, Some(Since::Position(since)));
    assert_eq!(joined.recovery, Some(Recovery::Complete(2)));
    desk.publish(7, "c");
    assert_eq!(tab.heard(), ["7: a", "7: b", "7: c"]);

    let newest = Position { offset: 3, ..since };
    assert_eq!(desk.recover(7, newest), Some(Recovery::Complete(1)));
}

/// Until the missed events arrive, the client has nothing new.
#[tokio::test(start_paused = true)]
async fn position_of_a_returning_session_is_before_the_missed_events() {
    let desk = Desk::new();
    let since = desk.look(7);
    desk.publish(7, "a");
    let (_tab, joined) = desk.back(7, Some(Since::Position(since)));
    assert_eq!(joined.position, Some(since));

    let newest = Position { offset: 1, ..since };
    desk.publish(8, "elsewhere");
    let (_tab, joined) = desk.back(7, Some(Since::Position(newest)));
    assert_eq!(joined.position, Some(Position { offset: 2, ..since }));
}

#[tokio::test(start_paused = true)]
async fn first_position_is_given_before_the_first_event() {
    let desk = Desk::new();
    let since = desk.look(7);
    assert_eq!(since.offset, 0);
    assert_eq!(desk.recover(7, since), Some(Recovery::Complete(0)));
}

#[tokio::test(start_paused = true)]
async fn presence_and_typing_have_no_position() {
    let desk = Desk::new();
    let tab = desk.tab_in(7, 1);
    let since = desk.look(7);
    let other = desk.tab_in(7, 2);
    tab.place(7).typing(true);
    other.place(7).publish(
        EventKind::Seen {
            user: other.user.id().clone(),
            message: RowId::new(1).unwrap(),
        },
        Audience::All,
    );
    assert_eq!(desk.recover(7, since), Some(Recovery::Complete(0)));
}

#[tokio::test(start_paused = true)]
async fn position_that_does_not_fit_joins_with_a_gap() {
    let desk = Desk::new();
    let here = desk.look(7);
    let other = Position {
        epoch: Epoch::random(),
        ..here
    };
    let ahead = Position { offset: 1, ..here };
    let gap = |since| desk.back(7, Some(since)).1.recovery;
    for (since, expected) in [
        (Since::Position(other), Gap::OtherEpoch),
        (Since::Position(ahead), Gap::Ahead),
        (Since::Invalid, Gap::Invalid),
    ] {
        assert_eq!(gap(since), Some(Recovery::Incomplete(expected)));
    }

    let off = Desk::with_history(HistorySettings::off());
    let (tab, joined) = off.back(7, Some(Since::Position(here)));
    assert_eq!(joined.recovery, Some(Recovery::Incomplete(Gap::Disabled)));
    assert_eq!(
        (joined.position, off.publish(7, "a").position),
        (None, None)
    );
    assert_eq!(tab.heard(), ["7: a"]);
}

#[tokio::test(start_paused = true)]
async fn more_events_than_a_room_keeps_are_a_gap() {
    let desk = Desk::with_history(settings(|history| {
        history.max_events_per_room = PositiveCount::new(2);
    }));
    let since = desk.look(7);
    desk.publish(7, "a");
    desk.publish(7, "b");
    assert_eq!(desk.recover(7, since), Some(Recovery::Complete(2)));
    desk.publish(7, "c");
    assert_eq!(
        desk.recover(7, since),
        Some(Recovery::Incomplete(Gap::TooOld))
    );
    let later = Position { offset: 1, ..since };
    assert_eq!(desk.recover(7, later), Some(Recovery::Complete(2)));
}

#[tokio::test(start_paused = true)]
async fn more_events_than_half_a_queue_are_a_gap_and_evict_no_session() {
    let desk = Desk::new();
    let since = desk.look(7);
    for _ in 0..3 {
        desk.publish(7, "a");
    }
    let (tab, joined) = desk.back_with_queue(7, Some(Since::Position(since)), 4);
    assert_eq!(joined.recovery, Some(Recovery::Incomplete(Gap::TooMuch)));
    desk.publish(7, "b");
    assert_eq!(tab.heard(), ["7: b"]);
}

#[tokio::test(start_paused = true)]
async fn events_over_their_age_are_a_gap() {
    let desk = Desk::new();
    let before = desk.look(7);
    desk.publish(7, "a");
    let after = desk.look(7);
    desk.pass(Duration::from_secs(3700)).await;
    assert_eq!(
        desk.recover(7, before),
        Some(Recovery::Incomplete(Gap::TooOld))
    );
    assert_eq!(desk.recover(7, after), Some(Recovery::Complete(0)));
    assert_eq!(desk.rooms.all().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn quiet_room_recovers_after_a_long_busy_time_elsewhere() {
    let desk = Desk::with_history(settings(|history| {
        history.max_age = ConfigDuration::seconds(60);
    }));
    let (tab, joined) = desk.back(7, None);
    let since = joined.position.unwrap();
    for _ in 0..10 {
        desk.publish(8, "busy");
        desk.pass(Duration::from_secs(50)).await;
    }
    joined.membership.disconnect();
    drop(tab);
    desk.pass(Duration::from_secs(50)).await;
    assert_eq!(desk.recover(7, since), Some(Recovery::Complete(0)));
    assert_eq!(desk.rooms.all().len(), 0);
    desk.pass(Duration::from_secs(80)).await;
    assert_eq!(desk.recover(7, since), Some(Recovery::Complete(0)));
}

#[tokio::test(start_paused = true)]
async fn memory_of_kept_events_is_bounded() {
    let desk = Desk::with_history(settings(|history| {
        history.max_memory = ByteSize::kib(64);
    }));
    let since = desk.look(1);
    let text = "x".repeat(1000);
    for number in 0..1000 {
        desk.publish(1 + number % 50, &text);
    }
    let usage = desk.rooms.history_usage().unwrap();
    let (events, bytes) = (usage.events, usage.memory_bytes);
    assert!(
        events > 20 && bytes <= 64 * 1024,
        "{events} events, {bytes} bytes"
    );
    assert_eq!(
        desk.recover(1, since),
        Some(Recovery::Incomplete(Gap::TooOld))
    );
}

#[tokio::test(start_paused = true)]
async fn absent_users_are_those_without_a_session_in_the_room() {
    for desk in [Desk::new(), Desk::with_history(HistorySettings::off())] {
        let publish = |to: &[u64]| {
            let to = to.iter().map(|id| UserId::Number(*id)).collect();
            let delivered = desk.rooms.publish(Broadcast {
                room: room(7),
                text: "a".to_owned(),
                audience: Audience::All,
                to: Some(to),
            });
            delivered.absent
        };
        assert_eq!(publish(&[1]), Some(vec![UserId::Number(1)]));
        let _tab = desk.tab_in(7, 1);
        let _elsewhere = desk.tab_in(8, 2);
        assert_eq!(publish(&[1, 2]), Some(vec![UserId::Number(2)]));
        assert_eq!(publish(&[]), Some(vec![]));
        assert_eq!(desk.publish(7, "b").absent, None);
    }
}

/// A step of the property test: publish to a room, or leave it and come back.
#[derive(Clone, Debug)]
enum Step {
    Publish(u64),
    Leave(u64),
    Return(u64),
    /// Returns, and is lost again before any event arrives.
    Glance(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4u64).prop_map(Step::Publish),
        1 => (1..4u64).prop_map(Step::Leave),
        2 => (1..4u64).prop_map(Step::Return),
        1 => (1..4u64).prop_map(Step::Glance),
        1 => (1..30u64).prop_map(Step::Wait),
    ]
}

/// One client per room, which comes and goes, and what it should have.
#[derive(Default)]
struct Client {
    present: Option<(Tab, Membership)>,
    since: Option<Position>,
    /// Everything published since the position, while it was away.
    missed: Vec<(String, Option<Position>)>,
}

proptest! {
    /// A session that hears `recovered` gets exactly what it missed. One that has missed
    /// nothing hears `recovered`.
    #[test]
    fn recovered_session_misses_nothing(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let desk = Desk::with_history(settings(|history| {
                history.max_events_per_room = PositiveCount::new(5);
                history.max_age = ConfigDuration::seconds(60);
            }));
            let mut clients: HashMap<u64, Client> = HashMap::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Publish(ticket) => {
                        let text = number.to_string();
                        let position = desk.publish(ticket, &text).position;
                        let client = clients.entry(ticket).or_default();
                        if let Some((tab, _)) = &client.present {
                            assert_eq!(tab.heard(), [format!("{ticket}: {text}")]);
                            client.since = position;
                        } else {
                            client.missed.push((format!("{ticket}: {text}"), position));
                        }
                    }
                    Step::Leave(ticket) => {
                        let client = clients.entry(ticket).or_default();
                        if let Some((_, membership)) = client.present.take() {
                            membership.disconnect();
                        }
                    }
                    Step::Return(ticket) => {
                        let client = clients.entry(ticket).or_default();
                        if client.present.is_some() {
                            continue;
                        }
                        let (tab, joined) = desk.back(ticket, client.since.map(Since::Position));
                        let (missed, positions): (Vec<_>, Vec<_>) =
                            std::mem::take(&mut client.missed).into_iter().unzip();
                        let mut since = joined.position;
                        match joined.recovery {
                            None => assert_eq!(client.since, None),
                            Some(Recovery::Complete(count)) => {
                                assert_eq!(count, missed.len());
                                assert_eq!(tab.heard(), missed);
                                since = positions.last().copied().unwrap_or(since);
                            }
                            Some(Recovery::Incomplete(gap)) => {
                                assert_eq!(gap, Gap::TooOld);
                                assert!(!missed.is_empty());
                                assert!(tab.heard().is_empty());
                            }
                        }
                        client.since = since;
                        client.present = Some((tab, joined.membership));
                    }
                    Step::Glance(ticket) => {
                        let client = clients.entry(ticket).or_default();
                        if client.present.is_some() {
                            continue;
                        }
                        let (_tab, joined) = desk.back(ticket, client.since.map(Since::Position));
                        joined.membership.disconnect();
                        if !matches!(joined.recovery, Some(Recovery::Complete(_))) {
                            client.missed.clear();
                        }
                        client.since = joined.position;
                    }
                    Step::Wait(seconds) => desk.pass(Duration::from_secs(seconds)).await,
                }
            }
        });
    }
}
