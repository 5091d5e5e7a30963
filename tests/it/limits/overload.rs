//! The edge under overload rejects sessions and serves requests.

use hyper::StatusCode;

use crate::support::http::{Client, body, get};
use crate::support::program::Program;
use crate::support::{Edge, Laravel, Socket};

#[tokio::test]
async fn session_when_nearly_full_gets_503_and_requests_pass() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(
        &laravel.url(),
        "[limits]\nmax_connections = 10\nmax_connections_per_client = 10\n",
    );
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::http1(&edge).await);
    }
    let _here = Socket::greeted(&edge, "3|ana").await;
    let path = "/ws?token=3%7Cana";
    let refused = Socket::try_open(&edge, path, &[]).await.err();
    assert_eq!(refused, Some(StatusCode::SERVICE_UNAVAILABLE));
    let answer = clients[0].fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    drop(clients);
    while Socket::try_open(&edge, path, &[]).await.is_err() {}
}

#[tokio::test]
async fn session_above_max_memory_gets_503_and_requests_pass() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut client = program.http1().await;
    let mut here = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    program.append_config("[limits]\nmax_memory = \"1 MiB\"\n");
    program.send_sighup();
    program
        .logged(|line| line["event"] == "memory_limit_exceeded")
        .await;
    let mut late = program.http1().await;
    let upgrade = get("/ws?token=3%7Cana")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = late.fetch(upgrade.body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "5");
    assert!(here.settle().await.is_empty());
    let answer = late.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    drop(client.fetch(get("/").body(body("")).unwrap()).await);
    let status = program.command(&["status"]).output().unwrap();
    assert!(!status.status.success());
    assert!(
        String::from_utf8(status.stdout)
            .unwrap()
            .contains("max_memory")
    );
}
