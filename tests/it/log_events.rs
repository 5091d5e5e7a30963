//! Events of the log, as a program reads them.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use crate::support::Laravel;
use crate::support::http::{Client, body, get};
use crate::support::program::{Home, Program};

#[tokio::test]
async fn failed_handshake_is_logged_with_its_cause() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "[log]\nlevel = \"debug\"\n");
    let mut plain = TcpStream::connect(program.address).await.unwrap();
    plain.write_all(b"hello\r\n").await.unwrap();
    let line = program
        .logged(|line| line["event"] == "tls_handshake_failed")
        .await;
    assert_eq!(
        (&line["message"], &line["reason"]),
        (&"TLS handshake failed".into(), &"failed".into())
    );
    let error = line["error"].as_str().unwrap();
    assert!(
        error.starts_with("the handshake failed: ") && error.contains("corrupt message"),
        "{line}"
    );
}

#[tokio::test]
async fn invalid_log_filter_is_reported_and_ignored() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), ([127, 0, 0, 1], 0).into(), "");
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    command.env("RUST_LOG", "pwd_edge=loud");
    // `log.level` applies, so the start waits for lines of the level `info`.
    let program = Program::start(&home, command);
    let line = program
        .logged(|line| line["event"] == "log_filter_invalid")
        .await;
    assert_eq!(line["level"], "WARN");
}

#[tokio::test]
async fn rejected_request_is_logged_and_counted_by_its_code() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let request = get("/x").header("authorization", "a");
    let request = request.header("authorization", "b").body(body("")).unwrap();
    let answer = program.http1().await.fetch(request).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("two Authorization headers"));
    let line = program.logged(|line| line["event"] == "http_request").await;
    assert_eq!(line["rejected"], "authorization_duplicate");
    let socket = UnixStream::connect(program.path("broadcast.sock")).await;
    let mut monitoring = Client::over_http1(socket.unwrap()).await;
    let metrics = monitoring.fetch(get("/metrics").body(body("")).unwrap());
    let metrics = metrics.await;
    let counted = |row: &str| row.contains("{reason=\"authorization_duplicate\",");
    assert!(metrics.text().lines().any(counted), "{}", metrics.text());
}

#[tokio::test]
async fn every_line_of_the_edge_has_its_event() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut client = program.http1().await;
    let answer = client.fetch(get("/x").body(body("")).unwrap()).await;
    assert_eq!(answer.status, 200);
    program.logged(|line| line["event"] == "http_request").await;
    for line in program.lines() {
        let is_id = |id: &str| id.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(line["event"].as_str().is_some_and(is_id), "{line}");
    }
}
