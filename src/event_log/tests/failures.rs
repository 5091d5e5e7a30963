use std::process::Command;
use std::sync::Arc;

use super::*;

#[test]
fn append_after_a_full_disk_is_stored_and_the_gap_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a"]);
    fill_disk(&mut log);
    let error = try_append(&mut log, 2, &["b"]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    append(&mut log, 3, &["c"]);
    assert_eq!(log.segments(), 2);
    drop(log);
    let (log, recovered) = open(directory.path(), BOOT);
    assert_eq!((log.epoch(), recovered.next_offset), (epoch, 4));
    assert_eq!(recovered.records, [stored(1, &["a"]), stored(3, &["c"])]);
    assert_eq!((recovered.horizon, replayable(&recovered)), (2, vec![3]));
    let gap = Gap {
        first_offset: 2,
        next_offset: 3,
    };
    assert_eq!(recovered.gaps, [gap]);
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
}

#[test]
fn offset_of_a_record_that_is_not_stored_is_never_used_again() {
    for is_closed in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = open(directory.path(), BOOT);
        let epoch = log.epoch();
        append(&mut log, 1, &["a"]);
        let too_long = "x".repeat(record::MAX_PAYLOAD_BYTES as usize);
        let error = try_append(&mut log, 2, &[&too_long]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        if is_closed {
            log.close().unwrap();
        } else {
            drop(log);
        }
        let (log, recovered) = open(directory.path(), BOOT);
        assert_ne!(log.epoch(), epoch);
        assert_eq!(recovered.next_offset, 1);
    }
}

#[test]
fn used_offset_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    append(&mut log, 1, &["a", "b"]);
    for (offset, texts) in [(0, 1), (1, 1), (2, 1), (u64::MAX, 2)] {
        let error = try_append(&mut log, offset, &["c"; 2][..texts]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{offset}");
    }
}

#[test]
fn record_with_parts_that_are_too_long_is_rejected() {
    let long = "x".repeat(70_000);
    for (room, key) in [(&*long, "key"), ("room", &long[..201]), ("room", "")] {
        let events = [event(room, "text")];
        let digest = [0; 32];
        let record = Record {
            key: Some(RequestKey { key, digest }),
            ..record(1, &events)
        };
        let mut out = vec![1];
        assert!(record::encode_record(&record, &mut out).is_err());
        assert_eq!(out, [1]);
    }
}

#[test]
fn deleted_segment_fails_the_append_until_the_directory_is_back() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("history");
    let open = || {
        let mark = mark(root.path());
        EventLog::open_at(&directory, mark, limits(), BOOT, now()).unwrap()
    };
    let (mut log, _) = open();
    append(&mut log, 1, &["a"]);
    std::fs::remove_dir_all(&directory).unwrap();
    try_append(&mut log, 2, &["b"]).unwrap_err();
    std::fs::create_dir(&directory).unwrap();
    append(&mut log, 3, &["c"]);
    log.sync().unwrap();
    log.enforce_retention(now());
    drop(log);
    let (_, recovered) = open();
    assert_eq!((recovered.horizon, replayable(&recovered)), (2, vec![3]));
    let gap = Gap {
        first_offset: 2,
        next_offset: 3,
    };
    assert_eq!(recovered.gaps, [gap]);
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
}

#[test]
fn failed_sync_ends_the_epoch_at_the_next_restart_of_the_machine() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a"]);
    // The file of a process cannot be synced.
    let unsyncable = File::open("/proc/self/status").unwrap();
    log.flush.unsynced.push(Arc::new(unsyncable));
    log.sync().unwrap_err();
    log.sync().unwrap();
    log.close().unwrap();
    let (log, _) = open(directory.path(), OTHER_BOOT);
    assert_ne!(log.epoch(), epoch);
}

/// Runs itself again in a process whose files may have a few blocks only.
#[test]
fn record_that_is_written_in_part_is_removed() {
    if let Some(directory) = std::env::var_os("PWD_EDGE_TEST_LOG") {
        let (mut log, _) = open(Path::new(&directory), BOOT);
        append(&mut log, 1, &["a"]);
        let length = log.bytes();
        let error = try_append(&mut log, 2, &[&"x".repeat(100_000)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let file = &files(Path::new(&directory))[0];
        assert_eq!(std::fs::metadata(file).unwrap().len(), length);
        append(&mut log, 3, &["c"]);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    run_limited(
        8,
        "record_that_is_written_in_part_is_removed",
        directory.path(),
    );
    let (_, recovered) = open(directory.path(), BOOT);
    assert_eq!(recovered.records, [stored(1, &["a"]), stored(3, &["c"])]);
    assert_eq!(recovered.horizon, 2);
}

/// Runs itself again in a process that cannot write to any file.
#[test]
fn start_on_a_full_disk_succeeds_with_a_new_epoch() {
    if let Some(directory) = std::env::var_os("PWD_EDGE_TEST_LOG") {
        let (mut log, recovered) = open(Path::new(&directory), BOOT);
        assert_eq!((recovered.next_offset, recovered.records.len()), (1, 0));
        try_append(&mut log, 1, &["lost"]).unwrap_err();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a"]);
    drop(log);
    run_limited(
        0,
        "start_on_a_full_disk_succeeds_with_a_new_epoch",
        directory.path(),
    );
    // The log lacks the events of the process in between.
    let (log, recovered) = open(directory.path(), BOOT);
    assert_ne!(log.epoch(), epoch);
    assert_eq!(recovered.next_offset, 1);
}

/// Runs the test `name` of this file in a process of its own, in which no write makes a file
/// longer than `blocks` of 512 bytes.
fn run_limited(blocks: u32, name: &str, directory: &Path) {
    let script = format!(r#"trap "" XFSZ; ulimit -f {blocks}; exec "$@""#);
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("event_log::tests::failures::{name}")])
        .env("PWD_EDGE_TEST_LOG", directory)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// Lets each further write to the active segment fail.
fn fill_disk(log: &mut EventLog) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    log.active.as_mut().unwrap().file = Arc::new(full);
}
