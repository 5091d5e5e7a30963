//! FastCGI servers that answer soundly, oddly or not at all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http_body_util::BodyExt;
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Edge;
use crate::support::app::scripted;
use crate::support::http::{Answer, Client, body, connect, get, post, streamed};

/// A request as a FastCGI server reads it.
#[derive(Debug, Default)]
pub(crate) struct FastCgiRequest {
    keep: bool,
    pub(crate) params: HashMap<String, String>,
    stdin: Vec<u8>,
}

impl FastCgiRequest {
    /// Reads to the end of the request; none if the connection ended.
    pub(crate) async fn read(stream: &mut TcpStream) -> Option<Self> {
        let (mut request, mut params) = (Self::default(), Vec::new());
        loop {
            let mut header = [0; 8];
            stream.read_exact(&mut header).await.ok()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let mut content = vec![0; length];
            stream.read_exact(&mut content).await.ok()?;
            match (header[1], length) {
                (1, _) => request.keep = content[2] == 1,
                (4, 0) => request.params = read_params(&params),
                (4, _) => params.extend(content),
                (5, 0) => return Some(request),
                (5, _) => request.stdin.extend(content),
                (kind, _) => panic!("a record of type {kind}"),
            }
        }
    }
}

fn read_params(mut bytes: &[u8]) -> HashMap<String, String> {
    fn length(bytes: &mut &[u8]) -> usize {
        let (first, rest) = bytes.split_first().unwrap();
        if *first < 0x80 {
            *bytes = rest;
            return usize::from(*first);
        }
        let (four, rest) = bytes.split_first_chunk::<4>().unwrap();
        *bytes = rest;
        (u32::from_be_bytes(*four) & 0x7fff_ffff) as usize
    }
    let mut params = HashMap::new();
    while !bytes.is_empty() {
        let (name, value) = (length(&mut bytes), length(&mut bytes));
        let (text, rest) = bytes.split_at(name + value);
        let text = std::str::from_utf8(text).unwrap();
        params.insert(text[..name].to_owned(), text[name..].to_owned());
        bytes = rest;
    }
    params
}

pub(crate) fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, 0, 1, high, low, padding, 0];
    bytes.extend(content);
    bytes.extend(vec![0xee; usize::from(padding)]);
    bytes
}

pub(crate) fn stdout(text: &str) -> Vec<u8> {
    record(6, text.as_bytes(), 0)
}

pub(crate) fn end(status: u8) -> Vec<u8> {
    record(3, &[0, 0, 0, 0, status, 0, 0, 0], 0)
}

/// An edge before a server that answers each request with these bytes, and then
/// closes if it may.
async fn edge_before_reply(wire: Vec<u8>) -> Edge {
    let url = scripted(move |_, mut stream| {
        let wire = wire.clone();
        async move {
            while let Some(request) = FastCgiRequest::read(&mut stream).await {
                stream.write_all(&wire).await.unwrap();
                if !request.keep {
                    return;
                }
            }
        }
    });
    edge_before(&url.await, "")
}

pub(crate) fn edge_before(url: &str, more: &str) -> Edge {
    let url = url.replace("http:", "fastcgi:");
    let upstream = format!("[upstream]\nurl = \"{url}\"\nroot = \"/srv/app/public\"\n{more}");
    Edge::configured("", &upstream)
}

async fn fetch(edge: &Edge, request: Builder) -> Answer {
    let mut client = Client::http1(edge).await;
    client.fetch(request.body(body("")).unwrap()).await
}

#[tokio::test]
async fn responses_of_every_form_are_passed_on() {
    let cut: Vec<u8> = "Status: 201 Created\r\nX-A: b\r\n\r\nwhole"
        .bytes()
        .flat_map(|byte| record(6, &[byte], 7))
        .collect();
    let complaining = [
        record(7, b"PHP Warning: something", 0),
        stdout("X-A: b\r\n\r\n"),
        record(7, b"PHP Notice: and more", 2),
        stdout("whole"),
        stdout(""),
        end(0),
    ];
    let about_the_connection = [1, 11, 0, 0, 0, 8, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0];
    for (wire, status) in [
        ([cut, end(0)].concat(), 201),
        (complaining.concat(), 200),
        (
            [
                &about_the_connection[..],
                &stdout("X-A: b\n\nwhole"),
                &end(0),
            ]
            .concat(),
            200,
        ),
        (
            [
                stdout("Status: 404\r\nX-A: b\r\nContent-Length: 5\r\n\r\nwhole"),
                end(0),
            ]
            .concat(),
            404,
        ),
    ] {
        let edge = edge_before_reply(wire).await;
        for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
            for _ in 0..2 {
                let answer = client.fetch(get("/").body(body("")).unwrap()).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (status, "whole"));
                assert_eq!(answer.headers["x-a"], "b");
                assert!(!answer.headers.contains_key("status"));
            }
        }
    }
}

/// What clients send gets into PHP's log.
#[tokio::test]
async fn stderr_of_a_script_is_not_taken_for_php_fpm_errors() {
    for (complaint, head) in [
        ("PHP Warning: Primary script unknown", "Status: 404\r\n\r\n"),
        ("Primary script unknown", "X-A: b\r\n\r\n"),
    ] {
        let wire = [
            record(7, complaint.as_bytes(), 0),
            stdout(head),
            stdout("whole"),
            end(0),
        ];
        let edge = edge_before_reply(wire.concat()).await;
        assert_eq!(fetch(&edge, get("/")).await.text(), "whole");
    }
}

#[tokio::test]
async fn response_without_a_body_is_passed_on_without_one() {
    for (request, head, status) in [
        (Request::head("/"), "Content-Length: 7\r\n\r\n", 200),
        (Request::get("/"), "Status: 204\r\n\r\n", 204),
        (Request::get("/"), "Status: 304\r\nETag: \"a\"\r\n\r\n", 304),
    ] {
        let edge = edge_before_reply([stdout(head), stdout("ignored"), end(0)].concat()).await;
        let answer = fetch(&edge, request.header("host", "localhost")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, ""));
    }
}

#[tokio::test]
async fn invalid_response_gives_502_and_overload_503() {
    for (wire, status) in [
        (vec![], 502),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
            502,
        ),
        ([stdout("<html>no head"), end(0)].concat(), 502),
        ([stdout("Status: 101\r\n\r\n"), end(0)].concat(), 502),
        (
            [stdout("Status: 200\r\nStatus: 404\r\n\r\n"), end(0)].concat(),
            502,
        ),
        (end(0), 502),
        (end(1), 502),
        (end(2), 503),
        // It is known before a byte has left that these are not whole.
        (
            [stdout("Content-Length: 6\r\n\r\nwhole"), end(0)].concat(),
            502,
        ),
        (
            [stdout("Content-Length: 4\r\n\r\nwhole"), end(0)].concat(),
            502,
        ),
        (record(6, b"X-A: b", 0)[..10].to_vec(), 502),
        (record(5, b"x", 0), 502),
        (
            [
                record(7, b"Primary script unknown", 0),
                stdout("Status: 404\r\n\r\nFile not found.\n"),
                end(0),
            ]
            .concat(),
            502,
        ),
    ] {
        let text = String::from_utf8_lossy(&wire).into_owned();
        let url = scripted(move |_, mut stream| {
            let wire = wire.clone();
            async move {
                FastCgiRequest::read(&mut stream).await;
                let _ = stream.write_all(&wire).await;
            }
        });
        let edge = edge_before(&url.await, "");
        let answer = fetch(&edge, post("/")).await;
        assert_eq!(answer.status, status, "{text:?}");
    }
}

/// Bytes of Laravel's bodies that are on disk.
pub(crate) async fn buffered_bytes(edge: &Edge) -> u64 {
    let answer = edge.get("/metrics").await;
    let name = "pwd_edge_upstream_disk_buffer_bytes{upstream=\"laravel\"} ";
    let line = answer
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name));
    line.unwrap().parse::<f64>().unwrap() as u64
}

/// What a client has got of `/` when the connection ends.
async fn fetch_until_closed(edge: &Edge) -> String {
    let mut stream = connect(edge, "http/1.1").await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test]
async fn aborted_response_never_looks_complete() {
    let large = "x".repeat(60_000);
    let page = format!("X-A: b\r\n\r\n{large}");
    for rest in [
        // The process is killed.
        vec![],
        stdout(&large),
        record(6, large.as_bytes(), 0)[..1000].to_vec(),
        b"something that is no record".to_vec(),
    ] {
        let wire = [stdout(&page), stdout(&large), rest].concat();
        let url = scripted(move |_, mut stream| {
            let wire = wire.clone();
            async move {
                FastCgiRequest::read(&mut stream).await;
                stream.write_all(&wire).await.unwrap();
            }
        });
        let edge = edge_before(&url.await, "");
        let got = fetch_until_closed(&edge).await;
        assert!(got.starts_with("HTTP/1.1 200 OK"), "{}", &got[..50]);
        assert!(!got.ends_with("0\r\n\r\n"), "it looks whole");
    }
}

#[tokio::test]
async fn silent_script_gives_504_at_the_response_timeout() {
    let url = scripted(|_, mut stream| async move {
        FastCgiRequest::read(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let edge = edge_before(&url.await, "response_timeout = \"100ms\"\n");
    let answer = fetch(&edge, get("/")).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    let nowhere = edge_before("http://127.0.0.1:1", "connect_retry_timeout = \"1ms\"\n");
    let answer = fetch(&nowhere, get("/")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn request_is_sent_to_php_with_its_complete_body_and_length() {
    let received = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&received);
    let url = scripted(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            if let Some(request) = FastCgiRequest::read(&mut stream).await {
                seen.lock().push(request);
                let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
                stream.write_all(&wire).await.unwrap();
            }
        }
    });
    let edge = edge_before(&url.await, "");
    // Of no known length: chunked, and in frames of HTTP/2.
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        for length in [1, 65_536, 65_537, 300_000] {
            let (pieces, sent) = streamed();
            let sending = async move {
                for _ in 0..length / 1000 {
                    pieces.send(vec![b'x'; 1000].into()).await.unwrap();
                }
                pieces.send(vec![b'x'; length % 1000].into()).await.unwrap();
            };
            let request = post("/upload").body(sent).unwrap();
            let (answer, ()) = tokio::join!(client.fetch(request), sending);
            assert_eq!(answer.text(), "ok");
            let request = received.lock().pop().unwrap();
            assert_eq!(request.stdin.len(), length);
            assert_eq!(request.params["CONTENT_LENGTH"], length.to_string());
            assert!(!request.keep);
        }
    }
    // A client that goes away in the middle, and one that sends too much.
    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let half = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(half).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    let (pieces, sent) = streamed();
    let mut client = Client::http2(&edge).await;
    let sending = async move { while pieces.send(vec![b'x'; 1 << 20].into()).await.is_ok() {} };
    let request = post("/").body(sent).unwrap();
    let (answer, ()) = tokio::join!(client.fetch(request), sending);
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(received.lock().is_empty(), "PHP got a request");
}

#[tokio::test]
async fn request_bodies_share_the_disk_buffer() {
    let url = scripted(|_, mut stream| async move {
        FastCgiRequest::read(&mut stream).await;
        let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
        let _ = stream.write_all(&wire).await;
    });
    let edge = edge_before(
        &url.await,
        "disk_buffer_size = \"1600 KiB\"\n[limits]\nrequests_per_second = 100000\nrequest_burst = 100000\n[http]\nmax_body_size = \"400 KiB\"\n\
         stream_idle_timeout = \"1h\"\nmin_body_rate_grace = \"1h\"\n[websocket.uploads]\nmax_size = \"400 KiB\"\n",
    );
    let (pieces, sent) = streamed();
    let mut first = Client::http2(&edge).await;
    let mut second = Client::http2(&edge).await;
    let request = post("/").body(sent).unwrap();
    let waiting = tokio::spawn(async move { first.fetch(request).await });
    for _ in 0..20 {
        pieces.send(vec![b'x'; 15_000].into()).await.unwrap();
    }
    let large = || post("/").body(body(vec![b'x'; 200_000])).unwrap();
    while buffered_bytes(&edge).await < 250_000 {}
    // A client has a quarter.
    let refused = second.fetch(large()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(pieces);
    assert_eq!(waiting.await.unwrap().text(), "ok");
    // What the first one had is free again.
    while second.fetch(large()).await.status != StatusCode::OK {}
}

#[tokio::test]
async fn request_uses_a_new_connection_and_is_retried_if_safe() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let url = scripted(move |number, mut stream| {
        count.fetch_add(1, SeqCst);
        async move {
            let request = FastCgiRequest::read(&mut stream).await.unwrap();
            assert!(!request.keep);
            // As if php-fpm was told to begin anew.
            if number == 2 {
                return;
            }
            let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
            stream.write_all(&wire).await.unwrap();
            // Records after the end belong to no request.
            let _ = stream.write_all(&wire).await;
        }
    });
    let edge = edge_before(&url.await, "");
    let mut client = Client::http1(&edge).await;
    for (request, wanted) in [(get("/"), 1), (post("/"), 2), (get("/"), 4), (get("/"), 5)] {
        let answer = client.fetch(request.body(body("")).unwrap()).await;
        assert_eq!(answer.text(), "ok");
        assert_eq!(connections.load(SeqCst), wanted);
    }
}

/// What php-fpm answers when a body breaks off, before it has all of it.
#[tokio::test]
async fn response_before_the_end_of_the_body_is_passed_on() {
    let url = scripted(|_, mut stream| async move {
        let _ = stream.read(&mut [0; 1000]).await;
        let wire = [stdout("Status: 413\r\n\r\nno"), end(0)].concat();
        stream.write_all(&wire).await.unwrap();
        // What is sent then is not read.
        std::future::pending::<()>().await;
    });
    let edge = edge_before(&url.await, "");
    let mut client = Client::http1(&edge).await;
    let request = post("/").body(body(vec![b'x'; 20 << 20])).unwrap();
    let answer = client.fetch(request).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (413, "no"));
}

#[tokio::test]
async fn client_that_leaves_ends_the_connection_to_php() {
    let (left, mut noticed) = tokio::sync::mpsc::channel(1);
    let url = scripted(move |_, mut stream| {
        let left = left.clone();
        async move {
            FastCgiRequest::read(&mut stream).await;
            let page = format!("X-A: b\r\n\r\n{}", "x".repeat(60_000));
            stream.write_all(&stdout(&page)).await.unwrap();
            while stream.write_all(&stdout(&page)).await.is_ok() {}
            left.send(()).await.unwrap();
        }
    });
    let edge = edge_before(&url.await, "");
    let mut client = Client::http2(&edge).await;
    let answer = client.send(get("/").body(body("")).unwrap()).await;
    let mut answer = answer.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    drop((answer, client));
    noticed.recv().await.unwrap();
}

#[tokio::test]
async fn upgrade_headers_are_not_sent_to_php() {
    let (seen, mut received) = tokio::sync::mpsc::unbounded_channel();
    let url = scripted(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            if let Some(request) = FastCgiRequest::read(&mut stream).await {
                let _ = seen.send(request);
                let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
                stream.write_all(&wire).await.unwrap();
            }
        }
    });
    let edge = edge_before(&url.await, "");
    let request = get("/")
        .header("connection", "Upgrade")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABk")
        .header("proxy-authorization", "Basic eDp5");
    assert_eq!(fetch(&edge, request).await.text(), "ok");
    let params = received.recv().await.unwrap().params;
    for word in ["UPGRADE", "SETTINGS", "CONNECTION", "PROXY_"] {
        let leaked = params.keys().find(|name| name.contains(word));
        assert_eq!(leaked, None);
    }
    // PHP cannot leave HTTP.
    let switch = "Status: 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let edge = edge_before_reply([stdout(switch), end(0)].concat()).await;
    assert_eq!(fetch(&edge, get("/")).await.status, StatusCode::BAD_GATEWAY);
}
