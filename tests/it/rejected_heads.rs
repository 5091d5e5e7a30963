//! Requests whose head hyper or h2 rejects before there is a request. The log and the metrics
//! have them all the same.

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::hostile::http2::{HEADERS, PREFACE, SETTINGS, frame, request};
use crate::support::http::{Client, body, get};
use crate::support::program::Program;
use crate::support::{Edge, Laravel};

/// The flags END_STREAM and END_HEADERS (RFC 9113 §6.2).
const WHOLE: u8 = 0x5;

/// A request for `path`, a header of `size` bytes and the end of the head.
fn http1(path: &str, size: usize) -> Vec<u8> {
    let long = "a".repeat(size);
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nx: {long}\r\n\r\n").into_bytes()
}

/// The beginning of an HTTP/2 connection, and a request with the header `block`.
fn http2(block: &[u8]) -> Vec<u8> {
    let settings = frame(SETTINGS, 0, 0, &[]);
    [PREFACE, &settings, &frame(HEADERS, WHOLE, 1, block)].concat()
}

/// The header block of a request for a path with a byte that is not UTF-8.
fn latin1_path() -> Vec<u8> {
    let mut block = request("/caf_");
    let at = block.iter().position(|byte| *byte == b'_').unwrap();
    block[at] = 0xe9;
    block
}

/// A header block of 80 KiB: one header of 3968 bytes, and references to it (RFC 7541 §6.1,
/// §6.2.1).
fn large_block() -> Vec<u8> {
    let mut block = request("/");
    block.extend([0x40, 1, b'a', 0x7f, 0x81, 0x1e]);
    block.extend([b'b'; 3968]);
    block.extend([0xbe; 20]);
    block
}

/// The value of `pwd_edge_http_requests_rejected_total` for `code`.
async fn rejected(program: &Program, code: &str) -> Option<u64> {
    let socket = UnixStream::connect(program.path("broadcast.sock")).await;
    let mut monitoring = Client::over_http1(socket.unwrap()).await;
    let metrics = monitoring.fetch(get("/metrics").body(body("")).unwrap());
    let row = format!("pwd_edge_http_requests_rejected_total{{reason=\"{code}\",route=\"none\"}} ");
    let metrics = metrics.await;
    let count = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(&row));
    count.map(|count| count.parse().unwrap())
}

#[tokio::test]
async fn rejected_head_is_logged_and_counted_by_its_code() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "[http]\nheader_timeout = \"2s\"\n");
    let half = http1("/", 1)[..20].to_vec();
    let cases = [
        ("http/1.1", http1("/<", 1), "syntax_invalid"),
        ("http/1.1", http1("/", 70_000), "headers_too_large"),
        ("http/1.1", half, "headers_too_slow"),
        ("h2", http2(&request("/<")), "syntax_invalid"),
        ("h2", http2(&latin1_path()), "syntax_invalid"),
        ("h2", http2(&large_block()), "headers_too_large"),
    ];
    for (number, (alpn, bytes, code)) in cases.into_iter().enumerate() {
        let mut stream = program.connect(alpn).await;
        stream.write_all(&bytes).await.unwrap();
        while program.events("request_head_rejected").len() <= number {
            tokio::task::yield_now().await;
        }
        let line = program.events("request_head_rejected").remove(number);
        assert_eq!(line["rejected"], code, "{line}");
        assert_eq!(line["client.ip"], "127.0.0.1");
    }
    assert_eq!(rejected(&program, "syntax_invalid").await, Some(3));
    assert_eq!(rejected(&program, "headers_too_large").await, Some(2));
    assert_eq!(rejected(&program, "headers_too_slow").await, Some(1));
    assert!(laravel.requests().is_empty());
}

/// RFC 9113 §8.1.1: a malformed request ends its stream, not its connection.
#[tokio::test]
async fn http2_connection_continues_after_malformed_requests() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut stream = program.connect("h2").await;
    stream.write_all(&http2(&request("/a\"<>b"))).await.unwrap();
    for (id, block) in [
        (3, request("/<")),
        (5, large_block()),
        (7, request("/after")),
    ] {
        let request = frame(HEADERS, WHOLE, id, &block);
        stream.write_all(&request).await.unwrap();
    }
    while !laravel
        .requests()
        .iter()
        .any(|seen| seen.target == "/after")
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(laravel.requests().len(), 1);
    assert_eq!(rejected(&program, "syntax_invalid").await, Some(2));
    assert_eq!(rejected(&program, "headers_too_large").await, Some(1));
    // A flood must not fill the disk.
    let is_event = |line: &Value| line["event"] == "request_head_rejected";
    program.logged(is_event).await;
    assert_eq!(program.count(is_event), 1);
}

/// A cookie jar that has grown too large. h2 alone would reset the stream with the response.
#[tokio::test]
async fn head_above_the_limit_gets_431_with_a_page() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let jar = |size: usize| get("/").header("cookie", "a".repeat(size));
        let answer = client.fetch(jar(31 * 1024).body(body("")).unwrap()).await;
        assert_eq!(answer.status, 200);
        let answer = client.fetch(jar(33 * 1024).body(body("")).unwrap()).await;
        assert_eq!(answer.status, 431);
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert!(answer.text().contains(id), "{}", answer.text());
    }
}
