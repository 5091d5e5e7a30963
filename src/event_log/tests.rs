mod damage;
mod failures;
mod flush;
mod property;
mod records;
mod retention;
mod rooms;
mod session_marks;
mod watermark;

use std::os::unix::fs::PermissionsExt;

use super::recovered::PastRequest;
use super::*;

#[test]
fn new_log_is_empty_and_private() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/history");
    let (log, recovered) = EventLog::open(&directory, mark(root.path()), limits()).unwrap();
    assert_eq!(recovered.epoch, log.epoch());
    assert_eq!((recovered.next_offset, recovered.horizon), (1, 0));
    assert!(recovered.records.is_empty() && recovered.damage.is_empty());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for path in files(&directory) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn records_survive_a_killed_process() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    let events = [event("ticket.1", "a"), event("ticket.2", "ü")];
    let key = RequestKey {
        key: "job-7",
        digest: [7; 32],
    };
    let record = Record {
        key: Some(key),
        ..record(1, &events)
    };
    log.append(&[record]).unwrap();
    append(&mut log, 3, &["b"]);
    append(&mut log, 4, &[]);
    drop(log);
    let (log, recovered) = open(directory.path(), BOOT);
    assert_eq!((log.epoch(), recovered.epoch), (epoch, epoch));
    assert_eq!((recovered.next_offset, recovered.horizon), (4, 0));
    let first = &recovered.records[0];
    let key = first.key.as_ref().unwrap();
    assert_eq!((key.key.as_str(), key.digest), ("job-7", [7; 32]));
    assert_eq!((first.first_offset, first.time), (1, now()));
    assert_eq!(first.events[1].room, "ticket.2");
    assert_eq!(first.events[1].text, "ü");
    let later = recovered.records.iter().skip(1);
    let later: Vec<_> = later.cloned().collect();
    assert_eq!(later, [stored(3, &["b"]), stored(4, &[])]);
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
}

#[test]
fn log_not_closed_before_the_machine_restarts_gets_a_new_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let old_epoch = log.epoch();
    let events = [event("ticket.1", "a")];
    for (offset, key, age) in [(1, "expired", 300), (2, "young", 299)] {
        let key = RequestKey {
            key,
            digest: [1; 32],
        };
        let record = Record {
            key: Some(key),
            time: now() - Duration::from_secs(age),
            ..record(offset, &events)
        };
        log.append(&[record]).unwrap();
    }
    log.sync().unwrap();
    drop(log);
    let (log, recovered) = open(directory.path(), OTHER_BOOT);
    assert_ne!(log.epoch(), old_epoch);
    assert_eq!((recovered.next_offset, recovered.horizon), (1, 0));
    assert!(recovered.records.is_empty() && recovered.damage.is_empty());
    let [PastRequest { key, position, .. }] = recovered.past_requests.as_slice() else {
        panic!("{:?}", recovered.past_requests);
    };
    assert_eq!(key.key, "young");
    assert_eq!((position.epoch, position.offset), (old_epoch, 2));
}

#[test]
fn closed_log_continues_after_the_machine_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a", "b"]);
    log.close().unwrap();
    let (log, recovered) = open(directory.path(), OTHER_BOOT);
    assert_eq!((log.epoch(), recovered.next_offset), (epoch, 3));
    assert_eq!(recovered.records, [stored(1, &["a", "b"])]);
    // The end mark of the older segment no longer counts.
    drop(log);
    let (log, recovered) = open(directory.path(), BOOT);
    assert_ne!(log.epoch(), epoch);
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
}

#[test]
fn log_without_a_write_for_too_long_gets_a_new_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_pause: Duration::from_secs(600),
        ..limits()
    };
    let (mut now, mut epochs) = (now(), Vec::new());
    for pause in [0, 0, 500, 700] {
        now += Duration::from_secs(pause);
        let path = directory.path();
        let (mut log, _) = EventLog::open_at(path, mark(path), limits, BOOT, now).unwrap();
        epochs.push(log.epoch());
        let events = [event("ticket.1", "a")];
        let record = Record {
            time: now,
            ..record(log.next_offset, &events)
        };
        log.append(&[record]).unwrap();
        log.close().unwrap();
    }
    assert!(epochs[0] == epochs[1] && epochs[1] == epochs[2]);
    assert_ne!(epochs[2], epochs[3]);
}

/// They show that the edge ran, and that the disk takes data again.
#[test]
fn record_without_events_uses_no_offset_and_shows_what_was_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    append(&mut log, 1, &["a"]);
    log.append(&[record(2, &[])]).unwrap();
    append(&mut log, 2, &["b"]);
    // The events 3 and 4 were not stored.
    log.append(&[record(5, &[])]).unwrap();
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    assert_eq!((recovered.next_offset, recovered.horizon), (5, 4));
    let gap = Gap {
        first_offset: 3,
        next_offset: 5,
    };
    assert_eq!(recovered.gaps, [gap]);
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
}

#[test]
fn log_of_another_process_is_rejected() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = open(directory.path(), BOOT);
    let error = EventLog::open(directory.path(), mark(directory.path()), limits()).unwrap_err();
    let path = directory.path().display().to_string();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains(&path), "{error}");
    drop(log);
    open(directory.path(), BOOT);
}

#[test]
fn directory_that_cannot_be_used_is_rejected() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = EventLog::open(&path, mark(root.path()), limits()).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
    let unwritable = Path::new("/proc/self/fdinfo");
    let error = EventLog::open(unwritable, mark(root.path()), limits()).unwrap_err();
    assert!(matches!(error, OpenError::Write { .. }), "{error:?}");
}

#[test]
fn repeated_starts_leave_no_empty_segments() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (log, _) = open(directory.path(), BOOT);
        assert_eq!(log.segments(), 1);
        assert_eq!(files(directory.path()).len(), 1);
    }
    let other = directory.path().join("other file");
    std::fs::write(&other, "stays").unwrap();
    open(directory.path(), BOOT);
    assert!(other.exists());
}

const BOOT: BootId = BootId([1; 16]);
const OTHER_BOOT: BootId = BootId([2; 16]);

fn limits() -> Limits {
    Limits {
        segment_bytes: Limits::DEFAULT_SEGMENT_BYTES,
        max_age: Duration::from_secs(900),
        max_bytes: 256 * 1024 * 1024,
        max_memory: 64 * 1024 * 1024,
        max_pause: Duration::MAX,
    }
}

/// Bounds at which each record has a segment of its own.
fn one_record_each() -> Limits {
    Limits {
        segment_bytes: 1,
        ..limits()
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn open(directory: &Path, boot: BootId) -> (EventLog, Recovered) {
    open_with(directory, boot, limits())
}

fn open_with(directory: &Path, boot: BootId, limits: Limits) -> (EventLog, Recovered) {
    EventLog::open_at(directory, mark(directory), limits, boot, now()).unwrap()
}

/// The watermark beside the segments in `directory`.
fn mark(directory: &Path) -> Watermark {
    Watermark::new(directory.join("watermark"))
}

fn event<'a>(room: &'a str, text: &'a str) -> Event<'a> {
    Event {
        room,
        text,
        except: None,
    }
}

fn record<'a>(first_offset: u64, events: &'a [Event<'a>]) -> Record<'a> {
    Record {
        first_offset,
        time: now(),
        key: None,
        events,
    }
}

fn try_append(log: &mut EventLog, first_offset: u64, texts: &[&str]) -> io::Result<()> {
    let events = texts.iter().map(|text| event("ticket.1", text));
    let events: Vec<_> = events.collect();
    log.append(&[record(first_offset, &events)])
}

fn append(log: &mut EventLog, first_offset: u64, texts: &[&str]) {
    try_append(log, first_offset, texts).unwrap();
}

fn stored(first_offset: u64, texts: &[&str]) -> StoredRecord {
    let events = texts.iter().map(|text| StoredEvent {
        room: "ticket.1".into(),
        text: (*text).into(),
        except: None,
    });
    StoredRecord {
        first_offset,
        time: now(),
        key: None,
        events: events.collect(),
    }
}

/// The segments in `directory`, oldest first.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| segment::sequence_of(path).is_some())
        .collect();
    paths.sort();
    paths
}

/// The offsets of the events that can be replayed.
fn replayable(recovered: &Recovered) -> Vec<u64> {
    let offsets = recovered.records.iter().flat_map(|record| {
        let events = record.events.len() as u64;
        record.first_offset..record.first_offset + events
    });
    offsets
        .filter(|offset| *offset > recovered.horizon)
        .collect()
}
