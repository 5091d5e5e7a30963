//! The commands that ask the running edge, as a system administrator types them.

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::support::http::{body, get};
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command against `program` on another thread, because this one serves its request.
async fn command(program: &Program, arguments: &'static [&'static str]) -> Output {
    let mut command = program.command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn status_of_a_running_edge_is_healthy_or_degraded() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    program
        .http1()
        .await
        .fetch(get("/").body(body("")).unwrap())
        .await;
    // The test's certificate is valid for ages, so there is no problem.
    let output = command(&program, &["status"]).await;
    let screen = text(&output);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    assert!(screen.starts_with("pwd-edge 0.1.0 healthy\n"), "{screen}");
    assert!(
        screen.contains("upstream        laravel: healthy"),
        "{screen}"
    );
    assert!(screen.contains("certificate     localhost:"), "{screen}");

    let output = command(&program, &["status", "--json"]).await;
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["healthy"], true);
    assert_eq!(status["requests"], 1);

    laravel.stop();
    program
        .http1()
        .await
        .fetch(get("/").body(body("")).unwrap())
        .await;
    let output = command(&program, &["status"]).await;
    let screen = text(&output);
    assert_eq!(output.status.code(), Some(1), "{screen}");
    assert!(screen.starts_with("pwd-edge 0.1.0 DEGRADED\n"), "{screen}");
    assert!(
        screen.contains("unreachable: cannot connect to http://127.0.0.1"),
        "{screen}"
    );
    let mut lines = screen.lines();
    assert!(
        lines.any(|line| line.starts_with("  warn ") && line.contains("cannot connect to")),
        "the log's last events: {screen}"
    );
    let output = command(&program, &["status", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = status["recent_errors"].as_array().unwrap().iter();
    let ids: Vec<_> = events.map(|event| &event["event"]).collect();
    assert!(ids.contains(&&json!("upstream_request_failed")), "{status}");
}

#[tokio::test]
async fn room_commands_inspect_publish_and_disconnect() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut session = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    session.join(1).await;
    let rooms = text(&command(&program, &["rooms"]).await);
    assert!(rooms.starts_with("1 room\n  ticket/1 "), "{rooms}");
    let room = text(&command(&program, &["room", "ticket", "1"]).await);
    assert!(
        room.starts_with("ticket/1: 1 session\n") && room.contains("user 3"),
        "{room}"
    );
    let explain = &["explain", "--user", "3", "--ticket", "1"];
    let explained = text(&command(&program, explain).await);
    assert!(
        explained.starts_with("user 3 is in the room ticket/1\n"),
        "{explained}"
    );
    assert!(explained.contains("Laravel allows it"), "{explained}");
    session.expect_join_denied(999).await;
    let why = &["why", "--user", "3", "--ticket", "999"];
    let explained = text(&command(&program, why).await);
    assert!(
        explained.starts_with("user 3 is not in the room ticket/999\n"),
        "{explained}"
    );
    assert!(
        explained.contains("Laravel denies it") && explained.contains("last denial"),
        "{explained}"
    );

    let publish = &[
        "publish",
        "--ticket",
        "1",
        "--type",
        "new_message",
        "--payload",
        "{\"id\":7}",
    ];
    let published = text(&command(&program, publish).await);
    assert_eq!(published, "delivered to 1 session\n");
    let event = session.until("new_message").await;
    assert_eq!(
        (&event["payload"]["id"], &event["payload"]["ticket_id"]),
        (&7.into(), &1.into())
    );

    let closed = text(&command(&program, &["disconnect", "--user", "3"]).await);
    assert_eq!(closed, "closed 1 session\n");
    session.gone().await;
}

#[tokio::test]
async fn every_question_can_be_answered_as_json() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut session = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    session.join(1).await;
    let json = async |arguments: &'static [&'static str]| -> Value {
        let output = command(&program, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let text = text(&output);
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let room = json!({ "room": "ticket/1", "sessions": 1 });
    assert_eq!(
        json(&["rooms", "--json"]).await,
        json!({ "total": 1, "rooms": [room] })
    );
    let room = json(&["room", "ticket", "1", "--json"]).await;
    assert_eq!(room["users"][0]["user_id"], 3);
    let explained = json(&["explain", "--user", "3", "--ticket", "1", "--json"]).await;
    assert_eq!(
        (&explained["user_id"], &explained["in_room"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(explained["cached_decision"]["allowed"], true);
    assert!(explained["cached_decision"]["expires_in_seconds"].is_u64());
    let own = &explained["sessions"][0];
    assert_eq!(
        (&own["client_ip"], &own["queued_events"], &own["rooms"]),
        (&json!("127.0.0.1"), &json!(0), &json!(["ticket/1"]))
    );
    let published = json(&["publish", "--ticket", "1", "--type", "x", "--json"]).await;
    assert_eq!(published, json!({ "sessions": 1, "users": [3] }));
    let closed = json(&["disconnect", "--user", "3", "--json"]).await;
    assert_eq!(closed, json!({ "sessions": 1 }));
}

#[tokio::test]
async fn socket_can_be_named_without_a_configuration() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    std::fs::remove_file(program.path("config.toml")).unwrap();
    let output = command(&program, &["status", "--socket", "broadcast.sock"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = command(&program, &["rooms", "--socket", "broadcast.sock"]).await;
    assert_eq!(text(&output), "0 rooms\n");

    let both = &["rooms", "--socket", "broadcast.sock", "--config", "c.toml"];
    assert_eq!(command(&program, both).await.status.code(), Some(64));
    let output = command(&program, &["status", "--config", "c.toml"]).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(
        errors(&output).contains("cannot read c.toml: ") && errors(&output).contains("--socket"),
        "{output:?}"
    );
}

#[tokio::test]
async fn mistake_in_the_configuration_does_not_hide_the_edge() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    program.append_config("\n[http]\nmax_heads = 1\nmax_bodies = 1\n");
    let output = command(&program, &["status"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        errors(&output),
        "warning: config.toml has 2 mistakes; run `pwd-edge check --config config.toml`\n"
    );
    program.append_config("= nonsense");
    let output = command(&program, &["rooms", "--json"]).await;
    assert_eq!(text(&output), "{\"rooms\":[],\"total\":0}\n");
    assert!(
        errors(&output).starts_with("warning: config.toml has "),
        "{output:?}"
    );
}

#[tokio::test]
async fn edge_that_is_gone_is_unreachable() {
    let laravel = Laravel::start().await;
    let mut program = Program::before(&laravel.url(), "");
    program.kill();
    let output = command(&program, &["status"]).await;
    assert_eq!(output.status.code(), Some(2));
    let screen = text(&output);
    assert!(screen.starts_with("pwd-edge unreachable\n"), "{screen}");
    assert!(
        screen.contains("cannot connect to broadcast.sock: ")
            && screen.contains("does the edge run"),
        "{screen}"
    );
    let output = command(&program, &["status", "--json"]).await;
    assert_eq!(output.status.code(), Some(2));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["healthy"], false);
    assert!(
        status["problems"][0]
            .as_str()
            .unwrap()
            .contains("cannot connect")
    );
    for arguments in [&["rooms"][..], &["disconnect", "--user", "3"]] {
        let output = command(&program, arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(errors(&output).starts_with("cannot connect to broadcast.sock: "));
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let output = command(&program, &["rooms", "--json"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let failure: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cause = failure["error"].as_str().unwrap();
    assert!(cause.starts_with("cannot connect to broadcast.sock: "));
    assert!(output.stderr.is_empty(), "{output:?}");

    let output = command(&program, &["rooms", "--socket", "none.sock"]).await;
    let cause = errors(&output);
    assert!(cause.contains("is this its broadcast.socket?"), "{cause}");
    assert!(!cause.contains("configuration"), "{cause}");
}

#[tokio::test]
async fn unreadable_configuration_is_reported_with_the_socket_used_instead() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    std::fs::write(program.path("config.toml"), b"\xff\xfe[\0s\0]\0").unwrap();
    let output = command(&program, &["status"]).await;
    let warning = errors(&output);
    assert!(
        warning.starts_with("warning: config.toml: the file is in UTF-16; save it as UTF-8"),
        "{warning}"
    );
    assert!(
        warning.ends_with("the command uses the default socket /run/pwd-edge/broadcast.sock\n"),
        "{warning}"
    );
}

#[tokio::test]
async fn watch_goes_on_while_the_edge_is_unreachable() {
    let laravel = Laravel::start().await;
    let mut program = Program::before(&laravel.url(), "");
    let mut watch = program.command(&["status", "--watch", "--json"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("it goes on").unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next()["healthy"], true);
    program.kill();
    while next()["healthy"] == true {}
    assert_eq!(next()["healthy"], false);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[tokio::test]
async fn request_that_the_edge_rejects_fails_with_its_reason() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let long = "x".repeat(201);
    let mut publish = program.command(&["publish", "--ticket", "1", "--type", &long]);
    let output = tokio::task::spawn_blocking(move || publish.output().unwrap());
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(64), "the argument is wrong");
    assert!(errors(&output).starts_with("the edge rejected the request: "));

    let home = Home::new(&laravel.url(), ([127, 0, 0, 1], 0).into(), "");
    // Only a user id that runs no test.
    home.configure(
        "[broadcast]\n",
        "[broadcast]\nallowed_uids = [4294967294]\n",
    );
    let mut run = home.command();
    run.args(["run", "--config", "config.toml"]);
    let other = Program::start(&home, run);
    let output = command(&other, &["rooms"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("broadcast.allowed_uids"));
    let output = command(&other, &["status"]).await;
    assert_eq!(output.status.code(), Some(2));
    let screen = text(&output);
    assert!(screen.starts_with("pwd-edge health unknown\n"), "{screen}");
    assert!(
        screen.contains("the edge rejected the request: user id "),
        "{screen}"
    );
    assert!(
        screen.contains("broadcast.allowed_uids; add this id there and reload the edge"),
        "{screen}"
    );
}

/// A server that is no edge says nothing about the edge.
#[tokio::test]
async fn health_is_unknown_if_another_program_has_the_socket() {
    let laravel = Laravel::start().await;
    let mut program = Program::before(&laravel.url(), "");
    program.kill();
    for (response, word) in [("hello", "is not JSON"), ("{}", "does not say")] {
        let path = program.path("other.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let length = response.len();
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{response}");
            stream.write_all(response.as_bytes()).await.unwrap();
        });
        let output = command(&program, &["status", "--json", "--socket", "other.sock"]).await;
        served.await.unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(format!("{output:?}").contains(word), "{output:?}");
    }
}

#[tokio::test]
async fn sighup_reloads_the_config_or_keeps_the_old_one() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let reloads = async |result: &str| loop {
        let output = command(&program, &["status", "--json"]).await;
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        if status["reloads"][result] == 1 {
            return status;
        }
    };
    program.append_config("\n[[routes]]\npath = \"/hidden\"\nstatus = 404\n");
    program.send_sighup();
    reloads("ok").await;
    let answer = program
        .http1()
        .await
        .fetch(get("/hidden").body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, 404);

    program.append_config("\n[http]\nmax_heads = 1\n");
    program.send_sighup();
    let answer = program
        .http1()
        .await
        .fetch(get("/hidden").body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, 404);
}
