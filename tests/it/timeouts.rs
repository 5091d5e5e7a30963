//! `http.header_timeout` and `http.idle_timeout`, over both versions of HTTP. Where one
//! of them is to end a connection, the other is too long to do so.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::hostile::http2::{HEADERS, PREFACE, SETTINGS, frame, request};
use crate::support::http::{Answer, Client, body, connect, get};
use crate::support::{Edge, Laravel};

const SHORT_HEADER: &str = "[http]\nheader_timeout = \"300ms\"\nidle_timeout = \"1h\"\n";
const SHORT_IDLE: &str = "[http]\nheader_timeout = \"1h\"\nidle_timeout = \"300ms\"\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The flags END_STREAM and END_HEADERS (RFC 9113 §6.2).
const WHOLE: u8 = 0x5;

/// What the edge sends to a client that sends `text` and waits for the end.
async fn until_closed(edge: &Edge, alpn: &str, text: &[u8]) -> Vec<u8> {
    let mut stream = connect(edge, alpn).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    // An end without a farewell is one, too.
    let _ = within_a_minute(stream.read_to_end(&mut answer)).await;
    answer
}

async fn within_a_minute<T>(future: impl Future<Output = T>) -> T {
    let minute = Duration::from_secs(60);
    let done = tokio::time::timeout(minute, future).await;
    done.expect("the edge closes the connection")
}

/// As [`until_closed`], where TLS must be closed properly.
async fn until_closed_properly(edge: &Edge, alpn: &str, text: &[u8]) -> Vec<u8> {
    let mut stream = connect(edge, alpn).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    let read = within_a_minute(stream.read_to_end(&mut answer)).await;
    read.expect("TLS is closed properly");
    answer
}

/// Reads one frame of HTTP/2: its type, flags, stream and payload; `None` at the end.
async fn read_frame(stream: &mut TlsStream<TcpStream>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut header = [0; 9];
    if let Err(error) = within_a_minute(stream.read_exact(&mut header)).await {
        // Without a close of TLS, the text is another.
        assert_eq!(error.to_string(), "early eof");
        return None;
    }
    let [high, middle, low, kind, flags, id @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    Some((kind, flags, u32::from_be_bytes(id), payload))
}

/// The beginning of an HTTP/2 connection, and `frames`.
fn http2(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat()
}

#[tokio::test]
async fn connection_without_a_whole_head_is_closed_after_the_header_timeout() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), SHORT_HEADER);
    let half = frame(HEADERS, 0, 1, &request("/"));
    for (alpn, text) in [
        ("http/1.1", Vec::new()),
        ("http/1.1", HEAD.as_bytes()[..9].to_vec()),
        ("h2", Vec::new()),
        ("h2", http2(&[])),
        ("h2", http2(&[half])),
    ] {
        until_closed(&edge, alpn, &text).await;
    }
    assert!(laravel.requests().is_empty());
}

#[tokio::test]
async fn half_a_head_on_a_used_connection_is_closed_after_the_header_timeout() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), SHORT_HEADER);
    // On a slow machine the first head may come too late: then nothing was tested.
    while laravel.requests().is_empty() {
        let mut stream = connect(&edge, "http/1.1").await.unwrap();
        stream.write_all(HEAD.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n")
            && stream
                .read_buf(&mut answer)
                .await
                .is_ok_and(|read| read > 0)
        {}
        let _ = stream.write_all(&HEAD.as_bytes()[..9]).await;
        let _ = within_a_minute(stream.read_to_end(&mut answer)).await;
    }
    let whole = frame(HEADERS, WHOLE, 1, &request("/"));
    let half = frame(HEADERS, 0, 3, &request("/"));
    while laravel.requests().len() < 2 {
        until_closed(&edge, "h2", &http2(&[whole.clone(), half.clone()])).await;
    }
    assert_eq!(laravel.requests().len(), 2);
}

#[tokio::test]
async fn used_connection_is_kept_beyond_the_header_timeout() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), SHORT_HEADER);
    let mut clients = [
        used_client(&edge, "http/1.1").await,
        used_client(&edge, "h2").await,
    ];
    // As long as those that ask nothing are kept; twice, since HTTP/1.1 lets hyper go
    // meanwhile.
    for alpn in ["h2", "http/1.1", "h2", "http/1.1"] {
        until_closed(&edge, alpn, &[]).await;
    }
    for client in &mut clients {
        client.fetch(get("/").body(body("")).unwrap()).await;
    }
}

/// A client that has sent a request. On a slow machine the first one may come too late.
async fn used_client(edge: &Edge, alpn: &str) -> Client {
    loop {
        let mut client = match alpn {
            "h2" => Client::http2(edge).await,
            _ => Client::http1(edge).await,
        };
        let request = get("/").body(body("")).unwrap();
        if let Ok(response) = client.send(request).await {
            Answer::read(response).await;
            return client;
        }
    }
}

#[tokio::test]
async fn idle_connection_is_closed_after_the_idle_timeout() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), SHORT_IDLE);
    let answer = until_closed(&edge, "http/1.1", HEAD.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
    let whole = frame(HEADERS, WHOLE, 1, &request("/"));
    until_closed(&edge, "h2", &http2(&[whole])).await;
    assert_eq!(laravel.requests().len(), 2);
}

#[tokio::test]
async fn half_a_head_gets_408_after_the_header_timeout() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), SHORT_HEADER);
    let used = [HEAD.as_bytes(), &HEAD.as_bytes()[..9]].concat();
    for (text, responses) in [
        (&b""[..], &[][..]),
        (b"\r\n", &[]),
        (&HEAD.as_bytes()[..9], &["408"]),
        (&used, &["200", "408"]),
    ] {
        let answer = until_closed_properly(&edge, "http/1.1", text).await;
        let answer = String::from_utf8(answer).unwrap();
        let statuses = answer.split("HTTP/1.1 ").skip(1).map(|line| &line[..3]);
        assert_eq!(statuses.collect::<Vec<_>>(), responses, "{answer}");
    }
}

/// RFC 9113 §6.8: a request that is on its way is not lost.
#[tokio::test]
async fn idle_http2_connection_ends_with_two_goaway_frames() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), SHORT_IDLE);
    let mut stream = connect(&edge, "h2").await.unwrap();
    let whole = |id| frame(HEADERS, WHOLE, id, &request("/"));
    stream.write_all(&http2(&[whole(1)])).await.unwrap();
    let (mut last_ids, mut responses) = (Vec::new(), Vec::new());
    while let Some((kind, flags, id, payload)) = read_frame(&mut stream).await {
        match kind {
            GOAWAY => {
                let last_id = u32::from_be_bytes(payload[..4].try_into().unwrap());
                last_ids.push(last_id);
                if last_ids.len() == 1 {
                    // The client does not know of it yet.
                    stream.write_all(&whole(3)).await.unwrap();
                }
            }
            PING if flags == 0 => {
                let ack = frame(PING, ACK, 0, &payload);
                stream.write_all(&ack).await.unwrap();
            }
            HEADERS => responses.push(id),
            _ => {}
        }
    }
    assert_eq!(last_ids, [u32::MAX >> 1, 3]);
    assert_eq!(responses, [1, 3]);
    assert_eq!(laravel.requests().len(), 2);
}

/// A type of frames and a flag (RFC 9113 §6.7, §6.8).
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
