//! The commands that ask the edge that runs, as a sysadmin types them.

use std::process::Output;

use serde_json::Value;

use crate::support::http::{body, get};
use crate::support::program::Program;
use crate::support::{Laravel, Socket};

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs a command beside `program`, off this thread: it asks, and we serve.
async fn command(program: &Program, arguments: &'static [&'static str]) -> Output {
    let mut command = program.command(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn one_screen_says_whether_it_is_well() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    program
        .http1()
        .await
        .fetch(get("/").body(body("")).unwrap())
        .await;
    // A certificate made for the test lasts for ages: nothing to look after.
    let output = command(&program, &["status"]).await;
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.starts_with("pwd-edge 0.1.0 is well\n"), "{told}");
    assert!(told.contains("upstream      laravel: answers"), "{told}");
    assert!(told.contains("certificate   localhost:"), "{told}");

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
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.starts_with("pwd-edge 0.1.0 NEEDS SOMEBODY\n"),
        "{told}"
    );
    assert!(
        told.contains("DOES NOT ANSWER: cannot connect to http://127.0.0.1"),
        "{told}"
    );
    assert!(
        told.contains("upstream request failed"),
        "the log's last words: {told}"
    );
}

#[tokio::test]
async fn rooms_and_sessions_can_be_looked_into_and_acted_on() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut session = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    session.join(1).await;
    assert!(text(&command(&program, &["rooms"]).await).contains("ticket/1"));
    let told = text(&command(&program, &["room", "ticket", "1"]).await);
    assert!(
        told.contains("1 sessions") && told.contains("user 3"),
        "{told}"
    );
    let told = text(&command(&program, &["why", "--user", "3", "--ticket", "1"]).await);
    assert!(told.contains("user 3 is in ticket/1"), "{told}");
    assert!(told.contains("Laravel said yes"), "{told}");
    session.refused(999).await;
    let told = text(&command(&program, &["why", "--user", "3", "--ticket", "999"]).await);
    assert!(told.contains("user 3 is not in ticket/999"), "{told}");
    assert!(
        told.contains("Laravel said no") && told.contains("denied"),
        "{told}"
    );

    let say = &[
        "publish",
        "--ticket",
        "1",
        "--type",
        "new_message",
        "--payload",
        "{\"id\":7}",
    ];
    assert_eq!(text(&command(&program, say).await), "1 sessions got it\n");
    let event = session.until("new_message").await;
    assert_eq!(
        (&event["payload"]["id"], &event["payload"]["ticket_id"]),
        (&7.into(), &1.into())
    );

    let told = text(&command(&program, &["disconnect", "--user", "3"]).await);
    assert_eq!(told, "1 sessions were closed\n");
    session.gone().await;
}

#[tokio::test]
async fn without_an_edge_the_commands_say_so() {
    let laravel = Laravel::start().await;
    let mut program = Program::before(&laravel.url(), "");
    program.kill();
    let output = command(&program, &["status"]).await;
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("broadcast.sock") && told.contains("does it run?"),
        "{told}"
    );
}

#[tokio::test]
async fn a_hangup_reads_the_configuration_again_or_says_why_not() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let reloads = async |result: &str| loop {
        let output = command(&program, &["status", "--json"]).await;
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        if status["reloads"][result] == 1 {
            return status;
        }
    };
    program.change_config("\n[[routes]]\npath = \"/hidden\"\nstatus = 404\n");
    program.hang_up();
    reloads("done").await;
    let answer = program
        .http1()
        .await
        .fetch(get("/hidden").body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, 404);

    program.change_config("\n[http]\nmax_heads = 1\n");
    program.hang_up();
    // The screen cannot be asked by this file any more; the edge goes on.
    let answer = program
        .http1()
        .await
        .fetch(get("/hidden").body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, 404);
}
