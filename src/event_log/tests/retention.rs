use super::*;

#[test]
fn segment_is_deleted_when_all_its_events_are_old() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open_with(directory.path(), BOOT, one_record_each());
    let max_age = limits().max_age;
    append_at(&mut log, 1, now());
    append_at(&mut log, 2, now() + max_age);
    append_at(&mut log, 3, now() + max_age);
    let full = log.bytes();
    log.enforce_retention(now() + max_age);
    assert_eq!((log.segments(), log.bytes()), (3, full));
    log.enforce_retention(now() + max_age + Duration::from_millis(1));
    assert_eq!(log.segments(), 2);
    assert_eq!(files(directory.path()).len(), 2);
    assert!(log.bytes() < full);
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    assert_eq!((recovered.horizon, replayable(&recovered)), (1, vec![2, 3]));
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
}

#[test]
fn events_of_a_quiet_site_expire_too() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    append_at(&mut log, 1, now());
    let max_age = limits().max_age;
    log.enforce_retention(now() + max_age / 2);
    assert_eq!(log.segments(), 1);
    log.enforce_retention(now() + max_age / 2 + Duration::from_millis(1));
    assert_eq!(log.segments(), 2);
    log.enforce_retention(now() + max_age + Duration::from_millis(1));
    assert_eq!(log.segments(), 1);
    log.enforce_retention(now() + 9 * max_age);
    assert_eq!(log.segments(), 1);
    let epoch = log.epoch();
    drop(log);
    let (log, recovered) = open(directory.path(), BOOT);
    assert_eq!((log.epoch(), recovered.next_offset), (epoch, 2));
    assert_eq!((recovered.horizon, recovered.records.len()), (1, 0));
}

#[test]
fn oldest_segments_are_deleted_while_the_log_is_too_long() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Limits {
        max_bytes: 4000,
        ..limits()
    };
    let (mut log, _) = open_with(directory.path(), BOOT, bounds);
    let text = "x".repeat(900);
    for offset in 1..=20 {
        append(&mut log, offset, &[&text]);
        log.enforce_retention(now());
        assert!(log.bytes() <= 4000, "{}", log.bytes());
    }
    let on_disk = files(directory.path()).into_iter();
    let on_disk: u64 = on_disk
        .map(|file| std::fs::metadata(file).unwrap().len())
        .sum();
    assert_eq!(log.bytes(), on_disk);
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    let kept: Vec<_> = (recovered.horizon + 1..=20).collect();
    assert!(kept.len() >= 2);
    assert_eq!(replayable(&recovered), kept);
}

#[test]
fn segment_being_written_is_never_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Limits {
        max_bytes: 1,
        max_age: Duration::ZERO,
        ..limits()
    };
    let (mut log, _) = open_with(directory.path(), BOOT, bounds);
    for offset in 1..=3 {
        append(&mut log, offset, &["text"]);
        log.enforce_retention(now());
        assert_eq!(files(directory.path()).len(), 1);
    }
}

#[test]
fn clock_that_steps_back_deletes_nothing_early() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open_with(directory.path(), BOOT, one_record_each());
    let day = Duration::from_secs(86_400);
    append_at(&mut log, 1, now());
    append_at(&mut log, 2, now() - day);
    append_at(&mut log, 3, now() - day);
    let written = files(directory.path());
    log.enforce_retention(now() - day);
    log.enforce_retention(now());
    assert!(written.iter().all(|path| path.exists()));
    log.enforce_retention(now() + limits().max_age * 2);
    assert_eq!(log.segments(), 1);
}

#[test]
fn segment_that_cannot_be_deleted_is_retried() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open_with(directory.path(), BOOT, one_record_each());
    append(&mut log, 1, &["a"]);
    append(&mut log, 2, &["b"]);
    let blocked = &files(directory.path())[0];
    std::fs::remove_file(blocked).unwrap();
    std::fs::create_dir(blocked).unwrap();
    let later = now() + 2 * limits().max_age;
    log.enforce_retention(later);
    assert!(log.has_cleanup_failed);
    std::fs::remove_dir(blocked).unwrap();
    log.enforce_retention(later);
    assert!(!log.has_cleanup_failed);
    assert_eq!(log.segments(), 1);
}

fn append_at(log: &mut EventLog, offset: u64, time: SystemTime) {
    let events = [event("ticket.1", "text")];
    let record = Record {
        time,
        ..record(offset, &events)
    };
    log.append(&[record]).unwrap();
}
