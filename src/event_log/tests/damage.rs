use super::*;
use crate::event_log::defect::Defect;
use crate::event_log::recovered::Damage;

#[test]
fn torn_record_is_cut_and_the_epoch_continues() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("written");
    let (mut log, _) = open(&path, BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a"]);
    let start = log.bytes();
    // A process that is killed within a write has not written the watermark.
    let watermark = read(&path.join("watermark"));
    append(&mut log, 2, &["b", "c"]);
    let end = log.bytes();
    drop(log);
    let segment = std::fs::read(&files(&path)[0]).unwrap();
    assert_eq!(segment.len() as u64, end);
    for length in start..end {
        let copy = root.path().join(format!("cut-{length}"));
        let whole = &segment[..usize::try_from(length).unwrap()];
        put(&copy, &[whole]);
        std::fs::write(copy.join("watermark"), &watermark).unwrap();
        let (mut log, recovered) = open(&copy, BOOT);
        assert_eq!(log.epoch(), epoch, "{length}");
        assert_eq!(recovered.records, [stored(1, &["a"])]);
        assert_eq!((recovered.next_offset, recovered.horizon), (2, 0));
        assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
        append(&mut log, 2, &["again"]);
        drop(log);
        let (_, recovered) = open(&copy, BOOT);
        assert_eq!(recovered.records[1], stored(2, &["again"]));
        assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
    }
}

#[test]
fn flipped_bit_never_yields_another_record_or_a_used_offset() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("written");
    let (mut log, _) = open_with(&path, BOOT, one_record_each());
    let epoch = log.epoch();
    let written = [stored(1, &["a"]), stored(2, &["b", "c"])];
    append(&mut log, 1, &["a"]);
    append(&mut log, 2, &["b", "c"]);
    drop(log);
    let contents: Vec<_> = files(&path).iter().map(|file| read(file)).collect();
    assert_eq!(contents.len(), 2);
    for (segment, byte) in (0..2).flat_map(|n| (0..contents[n].len()).map(move |at| (n, at))) {
        let mut flipped = contents.clone();
        flipped[segment][byte] ^= 1 << (byte % 8);
        let copy = root.path().join(format!("{segment}-{byte}"));
        put(&copy, &[&flipped[0], &flipped[1]]);
        std::fs::copy(path.join("watermark"), copy.join("watermark")).unwrap();
        let (log, recovered) = open(&copy, BOOT);
        let place = format!("segment {segment}, byte {byte}: {recovered:?}");
        assert!(
            recovered
                .records
                .iter()
                .all(|record| written.contains(record)),
            "{place}"
        );
        if log.epoch() == epoch {
            assert_eq!(recovered.next_offset, 4, "{place}");
            let expected: Vec<_> = (recovered.horizon + 1..4).collect();
            assert_eq!(replayable(&recovered), expected, "{place}");
        }
        drop(log);
        std::fs::remove_dir_all(copy).unwrap();
    }
}

#[test]
fn damage_in_the_middle_raises_the_horizon() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open_with(directory.path(), BOOT, one_record_each());
    let epoch = log.epoch();
    for offset in 1..=4 {
        append(&mut log, offset, &["text"]);
    }
    drop(log);
    let damaged = &files(directory.path())[1];
    let mut segment = read(damaged);
    let at = segment.len() - 20;
    segment[at] ^= 1;
    std::fs::write(damaged, segment).unwrap();
    let (log, recovered) = open(directory.path(), BOOT);
    assert_eq!((log.epoch(), recovered.next_offset), (epoch, 5));
    assert_eq!((recovered.horizon, replayable(&recovered)), (2, vec![3, 4]));
    assert_eq!(recovered.records[0], stored(1, &["text"]));
    let [
        Damage {
            path,
            offset,
            defect: Defect::Checksum,
        },
        Damage {
            defect: Defect::Missing { first: 2, last: 2 },
            ..
        },
    ] = recovered.damage.as_slice()
    else {
        panic!("{:?}", recovered.damage);
    };
    let table = record::rooms_bytes(&NewestOffsets::new(0));
    let start = (segment::HEAD_BYTES + table) as u64;
    assert_eq!((path, *offset), (damaged, start));
}

#[test]
fn missing_segment_is_noticed_wherever_it_was() {
    for (missing, epoch_continues, horizon) in [(0, true, 1), (1, true, 2), (2, false, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = open_with(directory.path(), BOOT, one_record_each());
        let epoch = log.epoch();
        for offset in 1..=3 {
            append(&mut log, offset, &["text"]);
        }
        log.close().unwrap();
        std::fs::remove_file(&files(directory.path())[missing]).unwrap();
        let (log, recovered) = open(directory.path(), BOOT);
        assert_eq!(log.epoch() == epoch, epoch_continues, "{missing}");
        assert_eq!(recovered.horizon, horizon, "{missing}");
    }
}

#[test]
fn newest_segment_missing_after_a_restart_ends_the_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a"]);
    log.close().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    append(&mut log, 2, &["b"]);
    drop(log);
    std::fs::remove_file(&files(directory.path())[1]).unwrap();
    let (log, recovered) = open(directory.path(), BOOT);
    assert_ne!(log.epoch(), epoch);
    let [Damage { defect, .. }] = recovered.damage.as_slice() else {
        panic!("{:?}", recovered.damage);
    };
    assert!(matches!(defect, Defect::NewestMissing), "{defect:?}");
}

#[test]
fn damaged_log_never_rejects_a_start() {
    for contents in ["", "x", &"x".repeat(1000)] {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), &[contents.as_bytes()]);
        let (mut log, recovered) = open(directory.path(), BOOT);
        assert_eq!(recovered.damage.len(), usize::from(contents.len() > 100));
        append(&mut log, 1, &["a"]);
        drop(log);
        let (_, recovered) = open(directory.path(), BOOT);
        assert_eq!(recovered.records, [stored(1, &["a"])]);
    }
}

#[test]
fn something_else_in_the_place_of_a_segment_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let place = |number: u32| directory.path().join(format!("{number:020}.segment"));
    std::fs::create_dir(place(1)).unwrap();
    std::os::unix::net::UnixListener::bind(place(2)).unwrap();
    std::os::unix::fs::symlink("nowhere", place(3)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place(4)).unwrap();
    let made = std::process::Command::new("mkfifo").arg(place(5)).status();
    assert!(made.unwrap().success());
    let (mut log, recovered) = open(directory.path(), BOOT);
    assert_eq!(recovered.damage.len(), 5);
    for (number, damage) in (1..).zip(&recovered.damage) {
        assert_eq!(damage.path, place(number));
        assert!(matches!(damage.defect, Defect::NotAFile), "{damage:?}");
    }
    append(&mut log, 1, &["a"]);
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    assert_eq!(recovered.records, [stored(1, &["a"])]);
}

#[test]
fn entry_of_an_unknown_kind_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    append(&mut log, 1, &["a"]);
    let payload = [99, 1, 2, 3];
    let mut frame = record::frame_header(4, &payload).to_vec();
    frame.extend_from_slice(&payload);
    log.active.as_mut().unwrap().append(&frame).unwrap();
    append(&mut log, 2, &["b"]);
    drop(log);
    let (_, recovered) = open(directory.path(), BOOT);
    assert_eq!(recovered.records, [stored(1, &["a"]), stored(2, &["b"])]);
    assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Creates a log of segments with these contents.
fn put(directory: &Path, segments: &[&[u8]]) {
    std::fs::create_dir_all(directory).unwrap();
    for (n, contents) in segments.iter().enumerate() {
        let path = directory.join(format!("{:020}.segment", n + 1));
        std::fs::write(path, contents).unwrap();
    }
}

#[test]
fn segment_that_cannot_be_opened_starts_a_new_epoch_and_is_deleted_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), BOOT);
    let epoch = log.epoch();
    append(&mut log, 1, &["a"]);
    drop(log);
    check_segments(directory.path()).unwrap();
    // Root may open all but a link to itself.
    let path = directory.path().join("00000000000000000002.segment");
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let error = check_segments(directory.path()).unwrap_err();
    let name = path.display().to_string();
    assert!(error.to_string().contains(&name), "{error}");
    let (mut log, recovered) = open(directory.path(), BOOT);
    assert_ne!(log.epoch(), epoch);
    let [damage] = recovered.damage.as_slice() else {
        panic!("{:?}", recovered.damage);
    };
    assert_eq!(damage.path, path);
    assert!(matches!(damage.defect, Defect::Unreadable(_)), "{damage:?}");
    append(&mut log, 1, &["b"]);
    log.enforce_retention(SystemTime::now() + Duration::from_secs(86_400 * 365));
    assert!(path.symlink_metadata().is_err());
    drop(log);
}
