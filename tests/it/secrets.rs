//! Tokens, cookies and passwords go through the edge and stay nowhere.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::http::{body, get, post};
use crate::support::program::Program;
use crate::support::{Laravel, Socket};

/// In every secret below.
const MARK: &str = "hunter2";

#[tokio::test]
async fn secrets_never_appear_in_any_output() {
    let laravel = Laravel::start().await;
    let more = "response_timeout = \"1s\"\n[log]\nlevel = \"trace\"\n[limits]\nfailed_logins_per_minute = 3\nrejected_tokens_per_minute = 3\n[auth]\nsession_cookies = [\"desk_session\"]\n";
    let program = Program::before(&laravel.url(), more);
    send_requests(&program).await;
    send_malformed_requests(&program).await;
    open_sessions(&program).await;
    open_sessions_by_cookie(&program, &laravel.log_in(MARK, 3)).await;
    laravel.stop();
    let mut client = program.http1().await;
    let request = get(&format!("/?token={MARK}")).header("cookie", MARK);
    client.fetch(request.body(body("")).unwrap()).await;

    program.append_config("nonsense = 1\n");
    program.send_sighup();
    program
        .logged(|line| line["event"] == "reload_failed")
        .await;
    for command in [&["status"][..], &["status", "--json"], &["rooms"]] {
        let output = program.command(command).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(
            !String::from_utf8_lossy(&text).contains(MARK),
            "{command:?}"
        );
    }
    let mut stream = UnixStream::connect(program.path("broadcast.sock"))
        .await
        .unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).await.unwrap();
    assert!(metrics.contains("pwd_edge_") && !metrics.contains(MARK));
    assert!(program.count(|line| line["event"] == "http_request") > 5);
    for line in program.lines() {
        assert!(!line.to_string().contains(MARK), "{line}");
    }
}

async fn send_requests(program: &Program) {
    for mut client in [program.http1().await, program.http2().await] {
        let with_secrets = |request: hyper::http::request::Builder| {
            request
                .header("authorization", format!("Bearer 3|{MARK}"))
                .header("cookie", format!("laravel_session={MARK}"))
                .header("x-xsrf-token", MARK)
        };
        for path in ["/", "/api/user", "/ws", "/broadcasting/auth"] {
            let path = format!("{path}?token={MARK}&password={MARK}");
            let request = with_secrets(get(&path)).body(body("")).unwrap();
            if let Ok(response) = client.send(request).await {
                let _ = http_body_util::BodyExt::collect(response.into_body()).await;
            }
        }
        let login = format!("{{\"username\":\"ana\",\"password\":\"{MARK}\"}}");
        let request = with_secrets(post("/api/login")).body(body(login)).unwrap();
        let _ = client.send(request).await;
    }
}

/// What cannot be understood, with a secret in it.
async fn send_malformed_requests(program: &Program) {
    for request in [
        format!("GET /?password={MARK} HTTP/1.1\r\nHost: a\r\nHost: {MARK}\r\n\r\n"),
        format!("GET /?password={MARK} HTTP/1.1\r\nAuthorization: {MARK}\r\n\r\n"),
        format!("GET /?{MARK} {MARK}\r\nCookie: {MARK}\r\n\r\n"),
        format!("GET /%00?{MARK} HTTP/1.1\r\nHost: a\r\nCookie: {MARK}\r\n\r\n"),
    ] {
        let mut stream = program.connect("http/1.1").await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0));
    }
}

/// Sessions: one that Laravel knows, and those that it rejects.
async fn open_sessions(program: &Program) {
    let mut socket = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    socket
        .send(json!({ "type": MARK, "payload": { "token": MARK } }))
        .await;
    socket
        .send_text(&format!(
            "{{\"type\":\"join_ticket\",\"payload\":\"{MARK}\""
        ))
        .await;
    socket.settle().await;
    for _ in 0..4 {
        let stream = program.connect("http/1.1").await;
        let request = format!("wss://localhost/ws?token=9%7C{MARK}");
        if let Ok((socket, _)) = client_async(request, stream).await {
            Socket(socket).gone().await;
        }
    }
}

/// Sessions by cookie: one that Laravel knows and that logs out, one that it rejects, and one
/// of a page of another site.
async fn open_sessions_by_cookie(program: &Program, cookies: &str) {
    let mut socket = open_by_cookie(program, cookies, "https://localhost").await;
    let socket = socket.as_mut().expect("the page's own session");
    assert_eq!(socket.next().await["type"], "connection");
    socket.join(1).await;
    let wrong = format!("desk_session=9|{MARK}");
    let rejected = open_by_cookie(program, &wrong, "https://localhost").await;
    assert_eq!(rejected.expect("a session").closed().await.0, 4502);
    let foreign = open_by_cookie(program, cookies, &format!("https://{MARK}.example")).await;
    assert!(foreign.is_none());
    let logout = post("/logout")
        .header("origin", "https://localhost")
        .header("cookie", cookies)
        .header("x-xsrf-token", format!("csrf-{MARK}="));
    let mut client = program.http1().await;
    let logout = client.fetch(logout.body(body("")).unwrap()).await;
    assert_eq!(logout.status, 302);
    assert_eq!(socket.closed().await.0, 4503);
}

/// Returns the socket; none if the edge rejects the handshake.
async fn open_by_cookie(program: &Program, cookies: &str, origin: &str) -> Option<Socket> {
    let stream = program.connect("http/1.1").await;
    let mut request = "wss://localhost/ws".into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", cookies.parse().unwrap());
    headers.insert("origin", origin.parse().unwrap());
    let (socket, _) = client_async(request, stream).await.ok()?;
    Some(Socket(socket))
}
