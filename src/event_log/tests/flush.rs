use super::*;

#[test]
fn log_is_closed_as_complete_only_after_every_flush_has_succeeded() {
    type End = fn(&mut EventLog);
    let flushed: End = |log| {
        let flush = log.begin_flush();
        append(log, 2, &["written meanwhile"]);
        let result = flush.run();
        log.end_flush(&result);
    };
    let failed: End = |log| {
        let _ = log.begin_flush();
        log.end_flush(&Err(io::Error::other("the disk is broken")));
        log.sync().unwrap();
    };
    let running: End = |log| drop(log.begin_flush());
    for (end, is_complete) in [(flushed, true), (failed, false), (running, false)] {
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = open(directory.path(), BOOT);
        let epoch = log.epoch();
        append(&mut log, 1, &["a"]);
        end(&mut log);
        log.close().unwrap();
        let (log, _) = open(directory.path(), OTHER_BOOT);
        assert_eq!(log.epoch() == epoch, is_complete);
    }
}

#[test]
fn flush_covers_segments_that_end_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open_with(directory.path(), BOOT, one_record_each());
    append(&mut log, 1, &["a"]);
    let flush = log.begin_flush();
    append(&mut log, 2, &["b"]);
    append(&mut log, 3, &["c"]);
    assert_eq!(log.flush.unsynced.len(), 2);
    assert!(!log.flush.is_active_synced && !log.flush.is_directory_synced);
    let result = flush.run();
    log.end_flush(&result);
    log.sync().unwrap();
    assert!(log.flush.unsynced.is_empty());
    assert!(log.flush.is_active_synced && log.flush.is_directory_synced);
}
