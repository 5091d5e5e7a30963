use proptest::prelude::*;

use super::*;
use crate::core::ids::{RowId, SessionIds};

fn room(ticket: u64) -> RoomName {
    RoomName::ticket(RowId::new(ticket).unwrap())
}

fn new_receipts() -> Receipts {
    Receipts::new(SessionIds::new().issue(), Arc::default())
}

/// Returns the offset that is confirmed in the only room.
fn confirmed(receipts: &Receipts) -> u64 {
    receipts.confirmed()[0].1
}

fn mark(count: u64, offset: u64) -> Mark {
    Mark { count, offset }
}

#[tokio::test(start_paused = true)]
async fn pong_confirms_what_was_written_before_its_ping() {
    let receipts = new_receipts();
    receipts.enter(room(1), 10, false);
    assert_eq!(confirmed(&receipts), 10);
    let first = receipts.record_written(2, 12).unwrap();
    assert_eq!(receipts.record_written(1, 13), None);
    assert_eq!(confirmed(&receipts), 10);
    assert!(receipts.confirm(&first.to_bytes()));
    assert_eq!(confirmed(&receipts), 12);
    let second = receipts.next_request().unwrap();
    assert_eq!(receipts.next_request(), None);
    assert!(receipts.confirm(&second.to_bytes()));
    assert_eq!(confirmed(&receipts), 13);
    // Nothing is left to confirm: the next batch gets the next ping.
    assert_eq!(receipts.next_request(), None);
    assert_eq!(receipts.record_written(1, 14), Some(mark(4, 14)));
}

#[tokio::test(start_paused = true)]
async fn pong_of_a_later_ping_confirms_earlier_broadcasts() {
    let receipts = new_receipts();
    receipts.enter(room(1), 0, false);
    receipts.record_written(1, 1).unwrap();
    let keep_alive = receipts.request();
    assert!(receipts.confirm(&keep_alive.to_bytes()));
    assert_eq!(confirmed(&receipts), 1);
    assert_eq!(receipts.unanswered_since(), None);
}

#[tokio::test(start_paused = true)]
async fn keep_alive_of_an_idle_session_needs_no_later_look() {
    let receipts = new_receipts();
    let keep_alive = receipts.request();
    assert!(!receipts.confirm(&keep_alive.to_bytes()));
    assert!(receipts.record_written(1, 1).is_some());
}

#[tokio::test(start_paused = true)]
async fn pong_with_another_payload_confirms_nothing() {
    let receipts = new_receipts();
    receipts.enter(room(1), 3, false);
    receipts.record_written(1, 5).unwrap();
    let invented = [
        Vec::new(),
        vec![0; 8],
        mark(2, 5).to_bytes().to_vec(),
        mark(1, 6).to_bytes().to_vec(),
        vec![0xff; 125],
    ];
    for payload in invented {
        assert!(!receipts.confirm(&payload), "{payload:?}");
        assert_eq!(confirmed(&receipts), 3, "{payload:?}");
    }
    assert!(receipts.unanswered_since().is_some());
}

/// The newest offset of another room says nothing about events that are replayed later.
#[tokio::test(start_paused = true)]
async fn replayed_events_are_confirmed_only_by_a_ping_behind_them() {
    let receipts = new_receipts();
    receipts.enter(room(1), 0, false);
    let live = receipts.record_written(1, 100).unwrap();
    receipts.enter(room(2), 50, true);
    receipts.confirm(&live.to_bytes());
    let offsets = || receipts.confirmed().into_iter().map(|(_, offset)| offset);
    assert_eq!(offsets().collect::<Vec<_>>(), [100, 50]);
    // The replay is queued when this ping is written.
    let early = receipts.request();
    receipts.confirm(&early.to_bytes());
    assert_eq!(offsets().collect::<Vec<_>>(), [100, 50]);
    receipts.record_written(2, 70);
    let behind = receipts.next_request().unwrap();
    assert_eq!(offsets().collect::<Vec<_>>(), [100, 50]);
    receipts.confirm(&behind.to_bytes());
    assert_eq!(offsets().collect::<Vec<_>>(), [100, 100]);
}

#[tokio::test(start_paused = true)]
async fn unanswered_ping_keeps_the_time_of_the_oldest() {
    let receipts = new_receipts();
    let start = Instant::now();
    let first = receipts.record_written(1, 1).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    receipts.request();
    assert_eq!(receipts.unanswered_since(), Some(start));
    receipts.record_written(1, 2);
    receipts.request();
    receipts.confirm(&first.to_bytes());
    assert_eq!(receipts.unanswered_since(), Some(Instant::now()));
}

#[test]
fn superseded_session_counts_again_after_a_pong() {
    let receipts = new_receipts();
    assert!(receipts.supersede());
    assert!(!receipts.supersede());
    let late = receipts.request();
    receipts.confirm(&late.to_bytes());
    assert!(receipts.supersede());
}

#[test]
fn left_room_has_no_receipt() {
    let receipts = new_receipts();
    receipts.enter(room(1), 1, false);
    receipts.enter(room(2), 2, false);
    receipts.enter(room(1), 3, false);
    assert_eq!(receipts.confirmed(), [(room(2), 2), (room(1), 3)]);
    receipts.leave(&room(2));
    assert_eq!(receipts.confirmed(), [(room(1), 3)]);
    receipts.leave(&room(1));
    assert!(!receipts.has_rooms());
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64),
    /// The client gets the ping, and answers only this one.
    Answer,
    Look,
    KeepAlive,
}

proptest! {
    /// Whatever happens in whichever order, only what came before an answered ping is
    /// confirmed, and a client that answers has all confirmed in the end.
    #[test]
    fn confirmed_offset_is_that_of_an_answered_ping(
        steps in prop::collection::vec(
            prop_oneof![
                (1..4_u64).prop_map(Step::Write),
                Just(Step::Answer),
                Just(Step::Look),
                Just(Step::KeepAlive),
            ],
            0..60,
        ),
    ) {
        let receipts = new_receipts();
        receipts.enter(room(1), 0, false);
        let (mut offset, mut answered, mut pings) = (0, 0, Vec::new());
        let finish = [Step::Answer, Step::Look, Step::Answer, Step::Look];
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Write(events) => {
                    offset += events;
                    pings.extend(receipts.record_written(events, offset));
                }
                Step::Look => pings.extend(receipts.next_request()),
                Step::KeepAlive => pings.push(receipts.request()),
                Step::Answer => {
                    if let Some(ping) = pings.pop() {
                        pings.clear();
                        answered = ping.offset;
                        receipts.confirm(&ping.to_bytes());
                    }
                }
            }
            prop_assert_eq!(confirmed(&receipts), answered);
        }
        prop_assert_eq!(answered, offset);
    }
}

#[tokio::test(start_paused = true)]
async fn session_that_joins_and_leaves_without_end_gets_a_mark_a_second() {
    let receipts = new_receipts();
    let toggle = |marks: &mut u32| {
        receipts.enter(room(1), 1, false);
        *marks += u32::from(receipts.take_mark());
        receipts.leave(&room(1));
        *marks += u32::from(receipts.take_mark());
    };
    let mut marks = 0;
    for _ in 0..10 {
        toggle(&mut marks);
    }
    assert_eq!(marks, 12);
    assert!(receipts.is_mark_due());
    for _ in 0..40 {
        tokio::time::advance(Duration::from_millis(250)).await;
        toggle(&mut marks);
    }
    assert_eq!(marks, 12 + 10);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(receipts.take_mark() && !receipts.is_mark_due() && !receipts.take_mark());
}
