//! Text on its way to the client, made smaller.

use std::sync::Arc;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use http_body_util::BodyExt;
use hyper::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Answer, Client, body};

/// Long enough, and dull enough to shrink.
fn text() -> String {
    "All work and no play makes Jack a dull boy. ".repeat(200)
}

/// An app that answers with [`text`], and with the status and header lines that
/// stand in the request's `x-answer`, where `|` ends a line.
async fn app() -> String {
    scripted(|_, mut stream| async move {
        let request = head(&mut stream).await;
        let wanted = request
            .lines()
            .find_map(|line| line.strip_prefix("x-answer: "));
        let wanted = wanted.unwrap_or("200 OK|content-type: text/html");
        let (text, short) = (text(), wanted.contains("x-short"));
        let text = if short { "short" } else { text.as_str() };
        let bare =
            request.starts_with("HEAD") || wanted.starts_with("204") || wanted.starts_with("304");
        let length = if wanted.starts_with('2') && !wanted.starts_with("204") {
            format!("content-length: {}\r\n", text.len())
        } else {
            String::new()
        };
        let lines = wanted.replace('|', "\r\n");
        let answer = format!(
            "HTTP/1.1 {lines}\r\n{length}connection: close\r\n\r\n{}",
            if bare { "" } else { text }
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

async fn ask(edge: &Edge, http2: bool, path: &str, headers: &[(&str, &str)]) -> Answer {
    let method = match path {
        "/head" => Method::HEAD,
        _ => Method::GET,
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = if http2 {
        Client::http2(edge).await
    } else {
        Client::http1(edge).await
    };
    client.fetch(request.body(body("")).unwrap()).await
}

async fn decoded(coding: &str, bytes: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "zstd" => ZstdDecoder::new(bytes).read_to_string(&mut text).await,
        "br" => BrotliDecoder::new(bytes).read_to_string(&mut text).await,
        _ => GzipDecoder::new(bytes).read_to_string(&mut text).await,
    }
    .unwrap();
    text
}

#[tokio::test]
async fn compressible_response_uses_the_preferred_coding() {
    let edge = Edge::configured(&app().await, "");
    let answer = (
        "x-answer",
        "200 OK|content-type: text/html; charset=utf-8|etag: \"a\"|vary: Origin|accept-ranges: bytes",
    );
    for http2 in [false, true] {
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("gzip", "gzip"),
            ("br;q=0.1, gzip", "gzip"),
        ] {
            let answer = ask(&edge, http2, "/", &[answer, ("accept-encoding", accept)]).await;
            assert_eq!(answer.headers["content-encoding"], coding);
            assert_eq!(answer.headers["etag"], "W/\"a\"");
            assert!(!answer.headers.contains_key("accept-ranges"));
            let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
            assert_eq!(vary, ["Origin", "Accept-Encoding"]);
            assert!(
                answer.body.len() < text().len() / 10,
                "{} bytes",
                answer.body.len()
            );
            assert_eq!(decoded(coding, &answer.body).await, text(), "{coding}");
        }
    }
}

/// A path, the application's response, and a header of the request.
const UNCOMPRESSED: &[(&str, &str, (&str, &str))] = &[
    (
        "/",
        "200 OK|content-type: text/html",
        ("accept-encoding", "identity"),
    ),
    (
        "/",
        "200 OK|content-type: text/html",
        ("accept-encoding", "gzip;q=0"),
    ),
    (
        "/",
        "200 OK|content-type: text/html",
        ("sec-fetch-site", "cross-site"),
    ),
    ("/", "200 OK|content-type: text/html|x-short: 1", ("a", "b")),
    ("/", "200 OK|content-type: image/png", ("a", "b")),
    ("/", "200 OK|content-type: text/event-stream", ("a", "b")),
    ("/", "200 OK", ("a", "b")),
    (
        "/",
        "200 OK|content-type: text/html|content-encoding: gzip",
        ("a", "b"),
    ),
    (
        "/",
        "200 OK|content-type: text/html|cache-control: no-transform",
        ("a", "b"),
    ),
    (
        "/",
        "206 Partial Content|content-type: text/html|content-range: bytes 0-8799/9000",
        ("a", "b"),
    ),
    (
        "/api/login",
        "200 OK|content-type: application/json",
        ("a", "b"),
    ),
    (
        "/api//login",
        "200 OK|content-type: application/json",
        ("a", "b"),
    ),
    (
        "/index.php/api/login",
        "200 OK|content-type: application/json",
        ("a", "b"),
    ),
    (
        "/",
        "200 OK|content-type: text/html|cache-control: private|cache-control: max-age=0, No-Transform",
        ("a", "b"),
    ),
    ("/", "204 No Content", ("a", "b")),
    (
        "/",
        "304 Not Modified|content-type: text/html|etag: \"a\"",
        ("a", "b"),
    ),
];

#[tokio::test]
async fn response_that_must_not_change_is_not_compressed() {
    let edge = Edge::configured(&app().await, "");
    for &(path, answer, header) in UNCOMPRESSED {
        let mut headers = vec![("x-answer", answer), header];
        if header.0 != "accept-encoding" {
            headers.push(("accept-encoding", "gzip, br, zstd"));
        }
        for http2 in [false, true] {
            let got = ask(&edge, http2, path, &headers).await;
            let coding = got.headers.get("content-encoding");
            let own = answer.contains("content-encoding");
            assert_eq!(coding.is_some(), own, "{path} {answer} {header:?}");
            if let Some(etag) = got.headers.get("etag") {
                assert_eq!(etag, "\"a\"", "{answer}");
            }
        }
    }
    let off = Edge::configured(&app().await, "[compression]\nenabled = false\n");
    let answer = ask(&off, false, "/", &[("accept-encoding", "gzip")]).await;
    assert!(!answer.headers.contains_key("content-encoding"));
}

/// A cache or a download manager asks by HEAD what a GET would bring (RFC 9110 §9.3.2).
#[tokio::test]
async fn head_gets_the_headers_of_get() {
    let edge = Edge::configured(&app().await, "");
    for answer in [
        "200 OK|content-type: text/html|etag: \"a\"|accept-ranges: bytes",
        "200 OK|content-type: text/html|etag: \"a\"|x-short: 1",
        "200 OK|content-type: image/png|etag: \"a\"",
    ] {
        for accept in ["gzip", "identity"] {
            for http2 in [false, true] {
                let headers = [("x-answer", answer), ("accept-encoding", accept)];
                let got = ask(&edge, http2, "/", &headers).await;
                let head = ask(&edge, http2, "/head", &headers).await;
                for name in ["vary", "etag", "content-encoding", "accept-ranges"] {
                    let (got, head) = (got.headers.get(name), head.headers.get(name));
                    assert_eq!(got, head, "{name} {answer} {accept}");
                }
                // Over HTTP/1.1 a compressed body has no length, nor has its HEAD.
                let length = head.headers.get("content-length");
                assert_eq!(got.headers.get("content-length"), length, "{answer}");
                assert!(head.body.is_empty());
            }
        }
    }
}

/// What has been written is seen at once, compressed or not; and what breaks
/// off is broken, not short.
#[tokio::test]
async fn compressed_stream_is_flushed_and_its_abort_passed_on() {
    let go_on = Arc::new(Notify::new());
    let waiting = Arc::clone(&go_on);
    let app = scripted(move |_, mut stream| {
        let waiting = Arc::clone(&waiting);
        async move {
            head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..2 {
                stream.write_all(b"5\r\n{\"a\"}\r\n").await.unwrap();
                waiting.notified().await;
            }
        }
    })
    .await;
    let edge = Edge::configured(&app, "");
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let request = Request::get("/")
            .header("host", "localhost")
            .header("accept-encoding", "gzip");
        let answer = client.send(request.body(body("")).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        let mut answer = answer.into_body();
        for _ in 0..2 {
            let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(!piece.is_empty());
            go_on.notify_one();
        }
        assert!(answer.collect().await.is_err(), "it looked complete");
    }
}
