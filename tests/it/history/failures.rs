//! The event log after power failures, damage, full disks and wrong clocks.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pwd_edge::event_log::reader::SegmentReader;
use pwd_edge::event_log::record::{Entry, Event, Except, Record, encode_record};
use pwd_edge::event_log::segment::{BootId, HEAD_BYTES};
use serde_json::{Value, json};

use super::log::{greeted, home, publish, start};
use super::{assert_gap, assert_recovered, event, rejoin};
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

/// An event of about 60 KB.
fn long_event(ticket: u64, number: u64) -> String {
    let text = "x".repeat(60_000);
    let payload = json!({ "ticket_id": ticket, "n": number, "text": text });
    json!({ "type": "new_message", "payload": payload }).to_string()
}

/// The files of the log, oldest first.
fn segments(home: &Home) -> Vec<PathBuf> {
    let files = std::fs::read_dir(home.path("history")).unwrap();
    let mut segments: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    segments.sort();
    segments
}

/// Copies a directory with the times of its files.
fn copy(home: &Home, from: &str, to: &str) {
    let paths = [home.path(from), home.path(to)];
    let copied = Command::new("cp").arg("-a").args(paths).status();
    assert!(copied.unwrap().success());
}

/// Joins the ticket 1 in a session of its own; returns the payload of the response.
async fn joined(program: &Program, since: &Value) -> Value {
    rejoin(&mut greeted(program).await, 1, since).await
}

/// The machine loses its memory: the kernel's writes that were not flushed are the test's
/// business. `bytes` are lost at the end of the log.
fn restart_machine(home: &Home, lost_bytes: usize) {
    let newest = segments(home).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let reader = SegmentReader::new(bytes.as_slice(), bytes.len() as u64).unwrap();
    let mut head = reader.head().clone();
    head.boot = BootId([7; 16]);
    bytes[..HEAD_BYTES].copy_from_slice(&head.encode());
    bytes.truncate(bytes.len() - lost_bytes);
    std::fs::write(&newest, bytes).unwrap();
    std::fs::remove_file(home.path("broadcast.sock.watermark")).unwrap();
}

#[tokio::test]
async fn log_whose_end_was_lost_with_the_power_begins_a_new_epoch() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    for lost_bytes in [0, 20] {
        let mut program = start(&home);
        let since = joined(&program, &Value::Null).await["position"].take();
        let mut app = program.laravel().await;
        for number in 1..=3 {
            publish(&mut app, event(1, number), "").await;
        }
        program.kill();
        restart_machine(&home, lost_bytes);
        let program = start(&home);
        assert_eq!(program.events("event_log_epoch_started").len(), 1);
        let answer = joined(&program, &since).await;
        assert_gap(&answer, "other_epoch");
        assert_ne!(answer["position"], since);
        assert!(program.stop().success());
    }
}

#[tokio::test]
async fn log_of_a_planned_restart_of_the_machine_continues() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let program = start(&home);
    let since = joined(&program, &Value::Null).await["position"].take();
    publish(&mut program.laravel().await, event(1, 1), "").await;
    assert!(program.stop().success());
    restart_machine(&home, 0);
    let answer = joined(&start(&home), &since).await;
    assert_recovered(&answer, 1);
}

#[tokio::test]
async fn damage_in_the_middle_costs_only_what_follows_in_its_file() {
    let laravel = Laravel::start().await;
    // Two files of 512 KiB.
    let home = home(&laravel, "max_disk = \"1 MiB\"\n");
    let mut program = start(&home);
    let mut app = program.laravel().await;
    let mut positions = Vec::new();
    for number in 1..=12 {
        let report = publish(&mut app, long_event(1, number), "").await;
        positions.push(report["position"].clone());
    }
    program.kill();
    let segments = segments(&home);
    assert_eq!(segments.len(), 2);
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();

    let program = start(&home);
    // The checksum, and the events that are missing therefore.
    assert_eq!(program.events("event_log_damaged").len(), 2);
    assert!(program.events("event_log_gap").is_empty());
    let answer = joined(&program, &positions[0]).await;
    assert_gap(&answer, "too_old");
    let answer = joined(&program, &positions[9]).await;
    assert_recovered(&answer, 2);
}

#[tokio::test]
async fn client_of_a_quiet_room_hears_that_it_missed_nothing() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "max_disk = \"1 MiB\"\n");
    let mut program = start(&home);
    let since = joined(&program, &Value::Null).await["position"].take();
    let mut app = program.laravel().await;
    for number in 1..=40 {
        publish(&mut app, long_event(2, number), "").await;
    }
    program.kill();
    for _ in 0..2 {
        let program = start(&home);
        let quiet = joined(&program, &since).await;
        assert_recovered(&quiet, 0);
        let mut desk = Socket::over(program.connect("http/1.1").await, "5|desk").await;
        let busy = rejoin(&mut desk, 2, &since).await;
        assert_eq!(busy["reason"], "too_old", "{busy}");
        assert!(program.stop().success());
    }
}

#[tokio::test]
async fn missing_directory_delivers_and_leaves_a_gap_that_is_known() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut socket = greeted(&program).await;
    let since = rejoin(&mut socket, 1, &Value::Null).await["position"].take();
    let mut app = program.laravel().await;
    std::fs::remove_dir_all(home.path("history")).unwrap();
    let report = publish(&mut app, event(1, 1), "").await;
    assert_eq!(
        (&report["sessions"], &report["stored"]),
        (&json!(1), &json!(false))
    );
    let status = program.status().await;
    let problem = status["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("events are not stored"), "{problem}");
    assert_eq!(status["history"]["log"]["unstored"], 1);
    std::fs::create_dir(home.path("history")).unwrap();
    let stored = publish(&mut app, event(1, 2), "").await;
    assert_eq!(stored["stored"], json!(true));
    program
        .logged(|line| line["event"] == "event_log_recovered")
        .await;
    program.kill();

    let program = start(&home);
    assert!(program.events("event_log_damaged").is_empty());
    let gaps = program.events("event_log_gap");
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (&gaps[0]["first"], &gaps[0]["last"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(joined(&program, &since).await["reason"], "too_old");
    let answer = joined(&program, &stored["position"]).await;
    assert_eq!(answer["recovered"], json!(true));
}

#[tokio::test]
async fn run_that_ended_without_storing_its_last_event_ends_the_epoch() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut app = program.laravel().await;
    let stored = publish(&mut app, event(1, 1), "").await;
    // The log's file is gone, and it can begin no other.
    copy(&home, "history", "kept");
    std::fs::remove_dir_all(home.path("history")).unwrap();
    let report = publish(&mut app, event(1, 2), "").await;
    assert_eq!(report["stored"], json!(false));
    program.kill();
    std::fs::rename(home.path("kept"), home.path("history")).unwrap();
    let answer = joined(&start(&home), &stored["position"]).await;
    assert_eq!(answer["reason"], "other_epoch", "{answer}");
}

#[tokio::test]
async fn clock_that_steps_back_a_day_loses_nothing() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let since = joined(&program, &Value::Null).await["position"].take();
    let mut app = program.laravel().await;
    for number in 1..=3 {
        publish(&mut app, event(1, number), "").await;
    }
    program.kill();
    let newest = segments(&home).pop().unwrap();
    let later = shift_records(&std::fs::read(&newest).unwrap());
    std::fs::write(&newest, later).unwrap();

    let program = start(&home);
    let answer = joined(&program, &since).await;
    assert_recovered(&answer, 3);
    assert!(program.stop().success());
    assert_eq!(joined(&start(&home), &since).await["missed"], json!(3));
}

/// The segment `bytes`, written a day later.
fn shift_records(bytes: &[u8]) -> Vec<u8> {
    let mut reader = SegmentReader::new(bytes, bytes.len() as u64).unwrap();
    let mut shifted = bytes[..HEAD_BYTES].to_vec();
    let mut start = HEAD_BYTES;
    while let Some(entry) = reader.next_entry().unwrap() {
        let end = usize::try_from(reader.offset()).unwrap();
        let Entry::Record(record) = entry else {
            shifted.extend_from_slice(&bytes[start..end]);
            start = end;
            continue;
        };
        start = end;
        let events = record.events.iter().map(|event| Event {
            room: &event.room,
            text: &event.text,
            except: event.except.as_ref().map(Except::borrowed),
        });
        let events: Vec<_> = events.collect();
        let record = Record {
            first_offset: record.first_offset,
            time: record.time + Duration::from_secs(86_400),
            key: None,
            events: &events,
        };
        encode_record(&record, &mut shifted).unwrap();
    }
    shifted
}

#[tokio::test]
async fn run_with_another_directory_ends_the_epoch() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let program = start(&home);
    let since = joined(&program, &Value::Null).await["position"].take();
    assert!(program.stop().success());
    for (text, with) in [
        ("directory = \"history\"", "directory = \"other\""),
        ("directory = \"other\"", "directory = \"\""),
    ] {
        home.configure(text, with);
        let program = start(&home);
        publish(&mut program.laravel().await, event(1, 1), "").await;
        assert!(program.stop().success());
        home.configure(with, "directory = \"history\"");
        let answer = joined(&start(&home), &since).await;
        assert_eq!(answer["reason"], "other_epoch", "{with}");
        home.configure("directory = \"history\"", with);
    }
}

#[tokio::test]
async fn older_copy_of_the_log_ends_the_epoch() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let program = start(&home);
    let since = joined(&program, &Value::Null).await["position"].take();
    assert!(program.stop().success());
    copy(&home, "history", "copy");
    let mut program = start(&home);
    publish(&mut program.laravel().await, event(1, 1), "").await;
    program.kill();
    std::fs::remove_dir_all(home.path("history")).unwrap();
    copy(&home, "copy", "history");
    let program = start(&home);
    assert_eq!(joined(&program, &since).await["reason"], "other_epoch");
}

#[tokio::test]
async fn watermark_that_cannot_be_written_is_reported() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "enabled = true\n");
    std::fs::create_dir(home.path("broadcast.sock.watermark")).unwrap();
    let (is_valid, text) = checked(&home);
    let warning = "broadcast.sock.watermark, which history.directory needs";
    assert!(is_valid && text.contains(warning), "{text}");
    let program = start(&home);
    let report = publish(&mut program.laravel().await, event(1, 1), "").await;
    assert_eq!(report["stored"], json!(false));
    let line = program
        .logged(|line| line["event"] == "event_log_write_failed")
        .await;
    let status = program.status().await;
    for text in [&line["error"], &status["problems"][0]] {
        let text = text.as_str().unwrap();
        assert!(text.contains("broadcast.sock.watermark"), "{text}");
    }
    drop(program);
    home.configure("enabled = true", "enabled = false");
    let program = start(&home);
    let lines = program.events("event_log_epoch_not_ended");
    assert_eq!(lines.len(), 1);
    let file = lines[0]["file"].as_str().unwrap();
    assert!(file.ends_with("broadcast.sock.watermark"), "{file}");
}

#[tokio::test]
async fn start_with_a_segment_that_cannot_be_opened_begins_a_new_epoch() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let program = start(&home);
    let since = joined(&program, &Value::Null).await["position"].take();
    assert!(program.stop().success());
    // Root may open all but a link to itself.
    let name = "00000000000000009999.segment";
    std::os::unix::fs::symlink(name, home.path("history").join(name)).unwrap();
    let (is_valid, text) = checked(&home);
    assert!(is_valid && text.contains(name), "{text}");
    let program = start(&home);
    assert_eq!(program.events("event_log_damaged").len(), 1);
    assert_eq!(joined(&program, &since).await["reason"], "other_epoch");
}

fn checked(home: &Arc<Home>) -> (bool, String) {
    let mut command = home.command();
    let output = command.args(["check", "--config", "config.toml"]).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text)
}

#[tokio::test]
async fn check_rejects_a_directory_that_a_start_cannot_use() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    std::os::unix::fs::symlink("nowhere", home.path("history")).unwrap();
    let (is_valid, text) = checked(&home);
    assert!(!is_valid && text.contains("history.directory"), "{text}");
    std::fs::remove_file(home.path("history")).unwrap();
    std::fs::create_dir(home.path("history")).unwrap();
    assert!(checked(&home).0);

    // Another process uses it.
    let directory = std::fs::File::open(home.path("history")).unwrap();
    directory.lock().unwrap();
    let (is_valid, text) = checked(&home);
    assert!(!is_valid && text.contains("another process"), "{text}");
    directory.unlock().unwrap();
    // The edge itself does.
    let program = start(&home);
    assert!(checked(&home).0);
    assert!(program.stop().success());
}
