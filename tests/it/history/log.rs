//! The event log: what survives the process.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{assert_recovered, event, rejoin};
use crate::support::http::{Client, body, post};
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

const LOGGED: &str = "[history]\ndirectory = \"history\"\n";

pub(super) fn home(laravel: &Laravel, more: &str) -> Arc<Home> {
    let address = ([127, 0, 0, 1], 0).into();
    Home::new(&laravel.url(), address, &format!("{LOGGED}{more}"))
}

pub(super) fn start(home: &Arc<Home>) -> Program {
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    Program::start(home, command)
}

pub(super) async fn greeted(program: &Program) -> Socket {
    Socket::over(program.connect("http/1.1").await, "3|ana").await
}

/// Publishes, with an `Idempotency-Key` if it is not empty; returns the response.
pub(super) async fn publish(laravel: &mut Client, event: String, key: &str) -> Value {
    let mut request = post("/broadcast");
    if !key.is_empty() {
        request = request.header("idempotency-key", key);
    }
    let answer = laravel.fetch(request.body(body(event)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn acknowledged_events_survive_a_killed_process() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut socket = greeted(&program).await;
    let since = rejoin(&mut socket, 1, &Value::Null).await["position"].take();
    let mut app = program.laravel().await;
    for number in 1..=20 {
        let report = publish(&mut app, event(1, number), "").await;
        assert_eq!(report["stored"], json!(true));
    }
    program.kill();

    let program = start(&home);
    let mut socket = greeted(&program).await;
    let joined = rejoin(&mut socket, 1, &since).await;
    assert_recovered(&joined, 20);
    let mut app = program.laravel().await;
    publish(&mut app, event(1, 21), "").await;
    let mut since = Value::Null;
    for number in 1..=21 {
        let event = socket.until("new_message").await;
        assert_eq!(event["payload"]["n"], json!(number));
        if number == 20 {
            since = event["position"].clone();
        }
    }
    assert!(program.stop().success());

    // A planned stop keeps the epoch, too.
    let program = start(&home);
    let joined = rejoin(&mut greeted(&program).await, 1, &since).await;
    assert_recovered(&joined, 1);
}

#[tokio::test]
async fn events_of_channels_survive_a_killed_process() {
    let laravel = Laravel::start().await;
    let home = home(
        &laravel,
        "[auth]\nchannel_path = \"/api/broadcasting/auth\"\n",
    );
    let mut program = start(&home);
    let mut socket = greeted(&program).await;
    let mut join = json!({ "type": "join", "payload": { "channel": "news" } });
    socket.send(join.clone()).await;
    join["payload"]["since"] = socket.until("joined").await["payload"]["position"].take();
    let mut app = program.laravel().await;
    let event = json!({ "type": "news", "payload": { "n": 1 }, "channels": ["other", "news"] });
    let first = publish(&mut app, event.to_string(), "one").await;
    assert_eq!(first["stored"], json!(true));
    program.kill();

    let program = start(&home);
    let mut socket = greeted(&program).await;
    socket.send(join).await;
    let joined = socket.until("joined").await;
    assert_eq!(
        (
            &joined["payload"]["recovered"],
            &joined["payload"]["missed"]
        ),
        (&json!(true), &json!(1))
    );
    assert_eq!(socket.until("news").await["channel"], "news");
    let mut app = program.laravel().await;
    let retry = publish(&mut app, event.to_string(), "one").await;
    assert_eq!(retry["positions"], first["positions"]);
}

#[tokio::test]
async fn retry_after_a_killed_process_publishes_no_second_event() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut app = program.laravel().await;
    let since = rejoin(&mut greeted(&program).await, 1, &Value::Null).await["position"].take();
    let batch = format!("[{},{}]", event(1, 2), event(1, 3));
    let first = publish(&mut app, event(1, 1), "one").await;
    let both = publish(&mut app, batch.clone(), "two").await;
    program.kill();

    let program = start(&home);
    let mut app = program.laravel().await;
    let again = publish(&mut app, event(1, 1), "one").await;
    assert_eq!(again["position"], first["position"]);
    let again = publish(&mut app, batch, "two").await;
    for number in [0, 1] {
        assert_eq!(again[number]["position"], both[number]["position"]);
    }
    let joined = rejoin(&mut greeted(&program).await, 1, &since).await;
    assert_eq!(joined["missed"], json!(3));
}

#[tokio::test]
async fn damaged_log_is_served_as_far_as_it_is_good_and_never_stops_a_start() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let since = rejoin(&mut greeted(&program).await, 1, &Value::Null).await["position"].take();
    let mut app = program.laravel().await;
    for number in 1..=10 {
        publish(&mut app, event(1, number), "").await;
    }
    program.kill();
    let files = std::fs::read_dir(home.path("history")).unwrap();
    let mut segments: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    segments.sort();
    let segment = segments.pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let program = start(&home);
    assert_eq!(program.events("event_log_damaged").len(), 1);
    let joined = rejoin(&mut greeted(&program).await, 1, &since).await;
    assert_eq!(joined["recovered"], json!(false), "{joined}");
}

#[tokio::test]
async fn full_disk_delivers_and_says_that_nothing_is_stored() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut command = std::process::Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_pwd-edge");
    // A limit on the size of files, in units of 512 bytes; a write beyond it fails.
    let script = format!("ulimit -f 16; exec {binary} run --config config.toml");
    command.current_dir(home.path("")).args(["-c", &script]);
    let mut program = Program::start(&home, command);
    let mut socket = greeted(&program).await;
    let since = rejoin(&mut socket, 1, &Value::Null).await["position"].take();
    let mut app = program.laravel().await;
    let long = json!({
        "type": "new_message",
        "payload": { "ticket_id": 1, "n": 2, "text": "x".repeat(10_000) },
    });
    assert_eq!(
        publish(&mut app, event(1, 1), "").await["stored"],
        json!(true)
    );
    let report = publish(&mut app, long.to_string(), "").await;
    assert_eq!(
        (&report["sessions"], &report["stored"]),
        (&json!(1), &json!(false))
    );
    program
        .logged(|line| line["event"] == "event_log_write_failed")
        .await;
    // The edge tries again by itself.
    program
        .logged(|line| line["event"] == "event_log_recovered")
        .await;
    assert_eq!(program.status().await["problems"], json!([]));
    assert_eq!(
        publish(&mut app, event(1, 3), "").await["stored"],
        json!(true)
    );
    let joined = rejoin(&mut greeted(&program).await, 1, &since).await;
    assert_recovered(&joined, 3);
    program.kill();
    // The start knows which event is missing, and that nothing is damaged.
    let program = start(&home);
    assert!(program.events("event_log_damaged").is_empty());
    let gaps = program.events("event_log_gap");
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (&gaps[0]["first"], &gaps[0]["last"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test]
async fn position_is_of_another_epoch_after_a_run_without_the_log() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "enabled = true\n");
    let program = start(&home);
    let since = rejoin(&mut greeted(&program).await, 1, &Value::Null).await["position"].take();
    assert!(program.stop().success());
    home.configure("enabled = true", "enabled = false");
    let program = start(&home);
    publish(&mut program.laravel().await, event(1, 1), "").await;
    assert!(program.stop().success());
    home.configure("enabled = false", "enabled = true");
    let program = start(&home);
    assert_eq!(program.events("event_log_epoch_started").len(), 1);
    let joined = rejoin(&mut greeted(&program).await, 1, &since).await;
    assert_eq!(joined["reason"], "other_epoch", "{joined}");
}

#[tokio::test]
async fn history_changes_only_with_a_restart() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "max_age = \"2h\"\n");
    let program = start(&home);
    home.configure("max_age = \"2h\"", "max_age = \"3h\"");
    program.send_sighup();
    let line = program
        .logged(|line| line["event"] == "settings_need_restart")
        .await;
    assert_eq!(line["keys"], "history");
}

#[tokio::test]
async fn directory_that_cannot_be_used_is_named_with_its_key() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    std::fs::write(home.path("history"), "a file").unwrap();
    let mut command = home.command();
    let output = command
        .args(["run", "--config", "config.toml"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("history.directory"), "{text}");
}
