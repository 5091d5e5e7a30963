//! Whole connections that stall: the edge ends them.

use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::http2::{DATA, HEADERS, frame, post, request};
use super::{
    GOAWAY, RawHttp2, SHORT_TIMEOUTS, WINDOW_UPDATE, fetch_until_ok, within_deadline, workers,
};
use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect, get};
use crate::support::{Edge, Laravel};

/// hyper has handed over the whole response, of which the client takes one byte.
#[tokio::test]
async fn unread_rest_of_a_response_ends_its_connection() {
    let upstream = workers(1).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    let mut attacker = RawHttp2::connect(&edge, 1).await;
    attacker.send_request(1, "/").await;
    let (mut warned, mut ended) = (false, false);
    let attack = async {
        attacker
            .send_cheap_requests(3, &[], |frame| {
                warned |= frame.kind == GOAWAY;
                false
            })
            .await;
        ended = true;
    };
    within_deadline(attack).await;
    assert!(warned && ended);
}

/// Windows are open, but the client reads nothing from the socket during an upload.
#[tokio::test]
async fn blocked_socket_ends_its_connection() {
    let upstream = workers(2).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    let attack = async {
        let mut attacker = RawHttp2::connect(&edge, 1 << 30).await;
        let all = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        let upload = frame(HEADERS, 0x4, 1, &post("/upload"));
        attacker
            .to
            .write_all(&[all, upload].concat())
            .await
            .unwrap();
        for stream in 1..50 {
            attacker.send_request(2 * stream + 1, "/export/1").await;
        }
        let piece = frame(DATA, 0, 1, &[b'x'; 100]);
        while attacker.to.write_all(&piece).await.is_ok() {
            // The attack itself, not a wait for anything.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within_deadline(async { tokio::join!(attack, fetch_until_ok(&edge, "/")) }).await;
}

/// If the edge rejects all requests of a connection, it says so and closes it.
#[tokio::test]
async fn connection_with_many_rejected_requests_is_closed() {
    let limits = "[[routes]]\nrequests_per_minute = 1\n";
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), limits);
    let mut attacker = RawHttp2::connect(&edge, 65_535).await;
    for stream in 0..1000 {
        let headers = frame(HEADERS, 0x5, 2 * stream + 1, &request("/"));
        if attacker.to.write_all(&headers).await.is_err() {
            break;
        }
    }
    let (mut warned, mut frames) = (false, 0);
    let attack = attacker.send_cheap_requests(2001, &[], |frame| {
        warned |= frame.kind == GOAWAY;
        frames += 1;
        false
    });
    within_deadline(attack).await;
    assert!(warned && frames > 200, "{warned} {frames}");
    // Over HTTP/1.1 the last response announces the close.
    let mut client = Client::http1(&edge).await;
    let mut refused = 0;
    let last = within_deadline(async {
        loop {
            let answer = client.fetch(get("/").body(body("")).unwrap()).await;
            if answer.headers.contains_key("connection") {
                return answer;
            }
            refused += 1;
        }
    });
    assert_eq!(last.await.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused >= 199, "{refused}");
}

/// One end of a tunnel sends, but reads nothing.
#[tokio::test]
async fn tunnel_with_a_stalled_end_is_closed() {
    let upstream = scripted(|_, mut stream| async move {
        let _ = head(&mut stream).await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let _ = stream.write_all(switch.as_bytes()).await;
        let (mut from, mut to) = stream.split();
        let flood = async { while to.write_all(&[b'x'; 65_536]).await.is_ok() {} };
        let mut sink = tokio::io::sink();
        let _ = tokio::join!(flood, tokio::io::copy(&mut from, &mut sink));
    })
    .await;
    let route = "[[routes]]\npath = \"/app\"\npass_upgrades = true\n";
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}{route}");
    let edge = Edge::configured("", &text);
    let mut client = connect(&edge, "http/1.1").await.unwrap();
    let ask = "GET /app HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
               Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 101");
    within_deadline(async {
        while client.write_all(b"more").await.is_ok() {
            // The attack itself, not a wait for anything.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
