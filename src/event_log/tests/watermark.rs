use super::*;
use crate::event_log::watermark::LastMark;

#[test]
fn log_continues_only_if_it_reaches_the_watermark() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a", "b"]);
    drop(log);
    let file = directory.path().join("watermark");
    let written = std::fs::read(&file).unwrap();
    assert_eq!(last(&file), LastMark::At(Position { epoch, offset: 2 }));
    for (offset, continues) in [(1, true), (2, true), (3, false)] {
        mark(directory.path())
            .write(Position { epoch, offset })
            .unwrap();
        assert_eq!(continues_at(directory.path()), continues, "{offset}");
    }
    for damaged in [0, 8, 19] {
        let mut bytes = written.clone();
        bytes[damaged] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(last(&file), LastMark::Unknown);
        assert!(!continues_at(directory.path()), "{damaged}");
    }
}

/// Opens a copy of the log; returns whether its epoch continues.
fn continues_at(directory: &Path) -> bool {
    let copy = tempfile::tempdir().unwrap();
    for path in files(directory) {
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let mark = copy.path().join("watermark");
    std::fs::copy(directory.join("watermark"), mark).unwrap();
    let (_, recovered) = open(copy.path(), BOOT);
    recovered.next_offset == 3
}

#[test]
fn missing_watermark_is_expected_only_after_the_machine_restarts() {
    for (boot, continues) in [(BOOT, false), (OTHER_BOOT, true)] {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = open(directory.path(), BOOT);
        let epoch = log.epoch();
        append(&mut log, 1, &["a"]);
        log.close().unwrap();
        std::fs::remove_file(directory.path().join("watermark")).unwrap();
        let (log, _) = open(directory.path(), boot);
        assert_eq!(log.epoch() == epoch, continues);
    }
}

#[test]
fn run_with_another_log_or_without_one_ends_the_epoch() {
    for has_log in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let (mut log, _) = open(directory.path(), BOOT);
        let epoch = log.epoch();
        append(&mut log, 1, &["a"]);
        log.close().unwrap();
        if has_log {
            let mark = mark(directory.path());
            let (log, _) = EventLog::open_at(other.path(), mark, limits(), BOOT, now()).unwrap();
            log.close().unwrap();
        } else {
            mark(directory.path()).end_epoch().unwrap();
        }
        let (log, recovered) = open(directory.path(), BOOT);
        assert_ne!(log.epoch(), epoch);
        assert_eq!((recovered.next_offset, recovered.horizon), (1, 0));
        assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
    }
}

#[test]
fn watermark_that_cannot_be_written_fails_the_append_until_it_can() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("run");
    let (directory, file) = (root.path().join("history"), place.join("watermark"));
    let open = || {
        let mark = Watermark::new(file.clone());
        EventLog::open_at(&directory, mark, limits(), BOOT, now()).unwrap()
    };
    let (mut log, _) = open();
    let epoch = log.epoch();
    let error = try_append(&mut log, 1, &["a"]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let path = file.display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
    std::fs::create_dir(&place).unwrap();
    append(&mut log, 2, &["b"]);
    drop(log);
    let (log, recovered) = open();
    assert_eq!(log.epoch(), epoch);
    // It is in the log all the same.
    assert_eq!(recovered.records, [stored(1, &["a"]), stored(2, &["b"])]);
}

#[test]
fn watermark_is_a_private_regular_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("watermark");
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "stays").unwrap();
    std::os::unix::fs::symlink(&victim, &file).unwrap();
    assert_eq!(last(&file), LastMark::Unknown);
    let mut mark = mark(directory.path());
    mark.end_epoch().unwrap_err();
    assert_eq!(std::fs::read(&victim).unwrap(), b"stays");
    // What was in the way is gone.
    mark.end_epoch().unwrap();
    let metadata = std::fs::symlink_metadata(&file).unwrap();
    assert!(metadata.is_file());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

fn last(file: &Path) -> LastMark {
    Watermark::new(file.to_owned()).read_last()
}

#[test]
fn check_of_the_watermark_finds_what_a_write_would_meet() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    check_watermark(&place("new")).unwrap();
    // The service manager creates the directory.
    check_watermark(&place("missing/new")).unwrap();
    std::fs::write(place("file"), "").unwrap();
    check_watermark(&place("file")).unwrap();
    check_watermark(&place("file/new")).unwrap_err();
    std::os::unix::fs::symlink("file", place("link")).unwrap();
    check_watermark(&place("link")).unwrap_err();
    assert!(!place("new").exists());
}
