//! Events of the log, as a program reads them.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Laravel;
use crate::support::http::{body, get};
use crate::support::program::Program;

#[tokio::test]
async fn failed_handshake_is_logged_with_its_cause() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "[log]\nlevel = \"debug\"\n");
    let mut plain = TcpStream::connect(program.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
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
