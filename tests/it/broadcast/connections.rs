//! Connections on the Unix socket: what clients may do with them, and who makes room.

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::http::{Client, body, get, post};
use crate::support::{Edge, Laravel, Socket};

/// Reads one response; returns its status line and body.
async fn read_response(stream: &mut UnixStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let status = head.lines().next().unwrap().to_owned();
    (status, String::from_utf8(body).unwrap())
}

/// As PHP's streams do. The edge has had the time to respond before the body.
#[tokio::test]
async fn client_that_writes_head_and_body_apart_gets_every_response() {
    let laravel = Laravel::start().await;
    let more = "[broadcast]\nmax_body_size = \"1 KiB\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut stream = UnixStream::connect(&edge.broadcasts).await.unwrap();
    for (target, length, expected) in [
        ("POST /users/3/disconnect", 2, "HTTP/1.1 200 OK"),
        ("POST /nowhere", 2, "HTTP/1.1 404 Not Found"),
        ("PUT /broadcast", 2, "HTTP/1.1 405 Method Not Allowed"),
        ("GET /status", 2, "HTTP/1.1 200 OK"),
        ("POST /broadcast", 5000, "HTTP/1.1 413 Payload Too Large"),
    ] {
        let head = format!("{target} HTTP/1.1\r\nhost: edge\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..5 {
            assert_eq!(edge.get("/status").await.status, StatusCode::OK);
        }
        stream.write_all(&vec![b' '; length]).await.unwrap();
        assert_eq!(read_response(&mut stream).await.0, expected, "{target}");
    }
}

/// It waits for 100, or for the rejection.
#[tokio::test]
async fn announced_body_that_is_too_long_is_rejected_before_it_is_sent() {
    let laravel = Laravel::start().await;
    let more = "[broadcast]\nmax_body_size = \"1 KiB\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut stream = UnixStream::connect(&edge.broadcasts).await.unwrap();
    let head = "POST /broadcast HTTP/1.1\r\nhost: edge\r\ncontent-length: 5000\r\n\
                expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (status, text) = read_response(&mut stream).await;
    assert_eq!(status, "HTTP/1.1 413 Payload Too Large");
    assert!(text.contains("too_large"), "{text}");
}

#[tokio::test]
async fn idle_connection_makes_room_for_a_broadcast() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[broadcast]\nmax_connections = 3\n");
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    // One that was used, and two that never were.
    let mut used = Client::over_http1(UnixStream::connect(&edge.broadcasts).await.unwrap()).await;
    let status = used.fetch(get("/status").body(body("")).unwrap()).await;
    assert_eq!(status.status, StatusCode::OK);
    let mut unused = Vec::new();
    for _ in 0..2 {
        unused.push(UnixStream::connect(&edge.broadcasts).await.unwrap());
    }
    let event = r#"{"type":"a","payload":{"ticket_id":1}}"#;
    assert_eq!(edge.broadcast(event).await["sessions"], 1);
    assert_eq!(ana.text().await, event);
    // One of them is closed, and the others are not.
    let mut clients = vec![used];
    for stream in unused {
        clients.push(Client::over_http1(stream).await);
    }
    let mut open = 0;
    for client in &mut clients {
        let request = post("/broadcast").body(body(event)).unwrap();
        open += usize::from(client.send(request).await.is_ok());
    }
    assert_eq!(open, 2);
}
