//! The newest offsets of rooms whose events are no longer in the log.

use super::*;

#[test]
fn room_without_an_event_in_the_deleted_segments_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Limits {
        segment_bytes: 1000,
        ..limits()
    };
    let (mut log, _) = open_with(directory.path(), BOOT, bounds);
    append_in(&mut log, 1, "quiet", now());
    for offset in 2..=40 {
        append_in(&mut log, offset, "busy", now());
    }
    let later = now() + limits().max_age;
    for offset in 41..=80 {
        append_in(&mut log, offset, "busy", later);
    }
    log.enforce_retention(later + Duration::from_millis(1));
    let newest = log.rooms.clone();
    drop(log);
    for _ in 0..2 {
        let (log, recovered) = open_with(directory.path(), BOOT, bounds);
        assert!((20..=40).contains(&recovered.horizon));
        assert_eq!(recovered.dropped.get("quiet"), 1);
        assert_eq!(recovered.dropped.get("busy"), recovered.horizon);
        assert_eq!(recovered.dropped.get("other"), 0);
        assert_eq!(log.rooms, newest);
    }
}

#[test]
fn damage_costs_a_quiet_room_nothing_if_a_later_segment_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Limits {
        segment_bytes: 1000,
        ..limits()
    };
    let (mut log, _) = open_with(directory.path(), BOOT, bounds);
    append_in(&mut log, 1, "quiet", now());
    for offset in 2..=60 {
        append_in(&mut log, offset, "busy", now());
    }
    drop(log);
    let segments = files(directory.path());
    assert!(segments.len() > 3);
    std::fs::remove_file(&segments[1]).unwrap();
    let (_, recovered) = open_with(directory.path(), BOOT, bounds);
    assert!(recovered.horizon > 1);
    assert_eq!(recovered.dropped.get("quiet"), 1);
    assert_eq!(recovered.dropped.get("busy"), recovered.horizon);
}

#[test]
fn events_that_are_not_stored_count_for_all_rooms() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    append_in(&mut log, 1, "quiet", now());
    log.append(&[record(9, &[])]).unwrap();
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    assert_eq!(recovered.horizon, 8);
    assert_eq!(recovered.dropped.get("quiet"), 8);
    assert_eq!(recovered.dropped.get("other"), 8);
}

#[test]
fn table_of_rooms_leaves_space_for_events() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Limits {
        segment_bytes: 1000,
        ..limits()
    };
    let (mut log, _) = open_with(directory.path(), BOOT, bounds);
    for offset in 1..=200 {
        append_in(&mut log, offset, &format!("room {offset}"), now());
    }
    let segments = files(directory.path());
    let (_, full) = segments.split_last().unwrap();
    for segment in full {
        assert!(std::fs::metadata(segment).unwrap().len() > 800);
    }
    assert!(log.rooms.floor() > 0);
    assert_eq!(log.rooms.get("room 200"), 200);
}

#[test]
fn start_keeps_the_newest_records_that_fit_into_memory() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let text = "x".repeat(1000);
    let events = [event("quiet", "text")];
    let key = RequestKey {
        key: "job-1",
        digest: [1; 32],
    };
    let first = Record {
        key: Some(key),
        ..record(1, &events)
    };
    log.append(&[first]).unwrap();
    for offset in 2..=100 {
        append(&mut log, offset, &[&text]);
    }
    let epoch = log.epoch();
    drop(log);
    let bounds = Limits {
        max_memory: 50_000,
        ..limits()
    };
    let (_, recovered) = open_with(directory.path(), BOOT, bounds);
    assert_eq!((recovered.epoch, recovered.next_offset), (epoch, 101));
    let kept: Vec<_> = (recovered.horizon + 1..=100).collect();
    assert_eq!(replayable(&recovered), kept);
    assert!((30..50).contains(&kept.len()), "{}", kept.len());
    assert_eq!(recovered.dropped.get("quiet"), 1);
    assert_eq!(recovered.dropped.get("ticket.1"), recovered.horizon);
    let request = &recovered.past_requests[0];
    assert_eq!(request.key.key, "job-1");
    assert_eq!(request.position, Position { epoch, offset: 1 });
}

fn append_in(log: &mut EventLog, offset: u64, room: &str, time: SystemTime) {
    let events = [event(room, "text")];
    let record = Record {
        time,
        ..record(offset, &events)
    };
    log.append(&[record]).unwrap();
}
