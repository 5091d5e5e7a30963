//! An event of Laravel for one channel or several.

use std::process::Output;

use serde_json::{Value, json};

use super::{CHANNELS, event, join, member, start};
use crate::support::program::Program;
use crate::support::{Laravel, Socket};

#[tokio::test]
async fn event_of_several_channels_reaches_the_members_of_each() {
    let (_laravel, edge) = start("").await;
    let mut ana = member(&edge, "3|ana", "private-desk").await;
    join(&mut ana, "news").await;
    let mut ben = member(&edge, "4|ben", "news").await;
    let channels = ["private-desk", "news", "private-empty"];
    let mut body: Value = serde_json::from_str(&event(&channels, 1)).unwrap();
    body["to"] = json!([3, 4, 9]);
    let report = edge.broadcast(&body.to_string()).await;
    assert_eq!(
        report,
        json!({ "sessions": 3, "users": [3, 4], "absent": [9] })
    );
    for channel in &channels[..2] {
        assert_eq!(ana.next().await["channel"], *channel);
    }
    assert_eq!(ben.next().await["channel"], "news");
    for socket in [&mut ana, &mut ben] {
        assert_eq!(socket.settle().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn event_of_channels_excludes_the_session_in_each() {
    let (_laravel, edge) = start("").await;
    let mut ana = Socket::open(&edge, "3|ana").await;
    let session = ana.next().await["payload"]["session_id"].take();
    for channel in ["private-desk", "news"] {
        join(&mut ana, channel).await;
    }
    let mut body: Value = serde_json::from_str(&event(&["private-desk", "news"], 1)).unwrap();
    body["except"] = session;
    assert_eq!(edge.broadcast(&body.to_string()).await["sessions"], 0);
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn report_of_channels_has_a_position_for_each() {
    let (_laravel, edge) = start("[history]\ndirectory = \"\"\n").await;
    let ticket = r#"{"type":"a","payload":{"ticket_id":1}}"#;
    let batch = format!("[{ticket},{},{ticket}]", event(&["b", "a"], 1));
    let reports = edge.broadcast(&batch).await;
    let reports = reports.as_array().unwrap();
    assert_eq!(reports.len(), 3);
    let offset = |position: &Value| {
        let (_, offset) = position.as_str().unwrap().split_once('.').unwrap();
        offset.parse::<u64>().unwrap()
    };
    let offsets = [
        offset(&reports[0]["position"]),
        offset(&reports[1]["positions"]["b"]),
        offset(&reports[1]["positions"]["a"]),
        offset(&reports[2]["position"]),
    ];
    assert_eq!(offsets, [1, 2, 3, 4]);
    assert!(reports[1].get("position").is_none() && reports[0].get("positions").is_none());
    assert_eq!(reports[1]["stored"], json!(false));
}

/// Runs a command against `program` on another thread, because this one serves its request.
async fn command(program: &Program, arguments: &'static [&'static str]) -> Output {
    let mut command = program.command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn commands_show_and_publish_to_channels() {
    let laravel = Laravel::start().await;
    laravel.open_channel(3, "private-desk");
    let program = Program::before(&laravel.url(), CHANNELS);
    let mut ana = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    assert_eq!(join(&mut ana, "private-desk").await["type"], "joined");
    for (arguments, expected) in [
        (&["rooms"][..], "1 room\n  channel/private-desk"),
        (
            &["room", "channel", "private-desk"],
            "channel/private-desk: 1 session",
        ),
        (
            &["explain", "--user", "3", "--channel", "private-desk"],
            "user 3 is in the room channel/private-desk\n",
        ),
        (
            &["publish", "--channel", "private-desk", "--type", "x"],
            "delivered to 1 session",
        ),
    ] {
        let output = command(&program, arguments).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(expected), "{arguments:?}: {text}");
    }
    assert_eq!(
        ana.text().await,
        r#"{"type":"x","payload":{},"channel":"private-desk"}"#
    );
    for wrong in [
        &["room", "channel", "a b"][..],
        &["room", "ticket", "01"],
        &["explain", "--user", "3"],
        &["publish", "--ticket", "1", "--channel", "a", "--type", "x"],
    ] {
        let output = command(&program, wrong).await;
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
    }
}
