//! The marks of sessions whose clients know no positions.

use proptest::prelude::*;

use super::*;

fn session(session: u64, rooms: &[(&str, u64)]) -> SessionMark {
    let rooms = rooms.iter();
    SessionMark {
        session,
        is_lost: false,
        time: now(),
        token: [3; 32],
        agent: [4; 16],
        user: "3".to_owned(),
        rooms: rooms.map(|(room, at)| ((*room).to_owned(), *at)).collect(),
    }
}

#[test]
fn marks_of_sessions_survive_a_killed_process() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, recovered) = open(directory.path(), BOOT);
    assert!(recovered.sessions.is_empty());
    let other = session(2, &[("ticket.1", 1)]);
    let mut lost = session(1, &[("ticket.1", 3), ("ticket.2", 9)]);
    log.append_marks(&[
        Mark::Session(session(1, &[("ticket.1", 0)])),
        Mark::Session(other),
    ]);
    append(&mut log, 1, &["a"]);
    log.append_marks(&[
        Mark::Session(lost.clone()),
        Mark::Confirmed {
            session: 1,
            offset: 5,
        },
        Mark::Ended { session: 2 },
        Mark::Confirmed {
            session: 2,
            offset: 5,
        },
    ]);
    drop(log);
    let (log, recovered) = open(directory.path(), BOOT);
    lost.rooms[0].1 = 5;
    assert_eq!(recovered.sessions.into_values().collect::<Vec<_>>(), [lost]);
    assert_eq!(recovered.records, [stored(1, &["a"])]);
    drop(log);

    // Offsets of another epoch say nothing.
    let (_, recovered) = open(directory.path(), OTHER_BOOT);
    assert!(recovered.sessions.is_empty());
}

#[test]
fn mark_that_is_too_long_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let long = "x".repeat(70_000);
    log.append_marks(&[
        Mark::Session(session(1, &[(&long, 0)])),
        Mark::Session(session(2, &[("ticket.1", 0)])),
    ]);
    append(&mut log, 1, &["a"]);
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    assert!(recovered.sessions.keys().eq(&[2]));
    assert_eq!(recovered.records, [stored(1, &["a"])]);
}

#[test]
fn segment_of_marks_alone_ends_at_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Limits {
        segment_bytes: 1000,
        ..limits()
    };
    let (mut log, _) = open_with(directory.path(), BOOT, bounds);
    for offset in 0..20 {
        log.append_marks(&[Mark::Session(session(1, &[("ticket.1", offset)]))]);
    }
    assert!(log.segments() > 2, "{}", log.segments());
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    assert_eq!(recovered.sessions[&1].rooms[0].1, 19);
}

fn marks() -> impl Strategy<Value = Mark> {
    let rooms = prop::collection::vec((".{0,9}", any::<u64>()), 0..4);
    let session = (any::<[u64; 2]>(), any::<bool>(), ".{0,20}", rooms);
    prop_oneof![
        session.prop_map(|([session, millis], is_lost, user, rooms)| {
            Mark::Session(SessionMark {
                session,
                is_lost,
                time: SystemTime::UNIX_EPOCH + Duration::from_millis(millis % (1 << 50)),
                token: [session as u8; 32],
                agent: [millis as u8; 16],
                user,
                rooms,
            })
        }),
        any::<[u64; 2]>().prop_map(|[session, offset]| Mark::Confirmed { session, offset }),
        any::<u64>().prop_map(|session| Mark::Ended { session }),
    ]
}

proptest! {
    #[test]
    fn mark_survives_its_bytes(mark in marks()) {
        let mut bytes = Vec::new();
        mark.encode(&mut bytes).unwrap();
        let entry = record::decode(&bytes[record::FRAME_HEADER_BYTES..]);
        prop_assert_eq!(entry, Some(record::Entry::Mark(mark)));
    }
}
