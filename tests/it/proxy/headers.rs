//! Headers and trailers that the edge removes, replaces, joins or limits.

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::{Client, body, connect, get, post};
use crate::support::{Edge, Laravel};

#[tokio::test]
async fn forged_forwarding_headers_are_replaced() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let forged = [
        ("x-forwarded-for", "10.1.1.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=10.1.1.1"),
        ("x-real-ip", "10.1.1.1"),
        ("x_forwarded_for", "10.1.1.1"),
        ("x.forwarded.for", "10.1.1.1"),
        ("proxy", "http://evil.example"),
    ];
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let mut request = get("/");
        for (name, value) in forged {
            request = request.header(name, value);
        }
        client.fetch(request.body(body("")).unwrap()).await;
        let seen = laravel.last();
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
        assert_eq!(seen.header("x-forwarded-port"), Some("443"));
        for gone in [
            "x-forwarded-prefix",
            "forwarded",
            "x-real-ip",
            "x_forwarded_for",
            "x.forwarded.for",
            "proxy",
        ] {
            assert_eq!(seen.header(gone), None, "{gone}");
        }
    }
}

#[tokio::test]
async fn hop_by_hop_headers_are_not_passed_on() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut client = Client::http1(&edge).await;
    let request = get("/headers")
        .header("connection", "x-mine, x-forwarded-for, keep-alive")
        .header("x-mine", "1")
        .header("keep-alive", "timeout=9")
        .header("te", "gzip")
        .header("x-other", "1");
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    let seen = laravel.last();
    for gone in ["x-mine", "keep-alive", "te", "connection"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.header("x-other"), Some("1"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    for gone in ["keep-alive", "proxy-connection", "host"] {
        assert!(!answer.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(answer.headers["x-kept"], "yes");
}

/// Browsers split `Cookie` over HTTP/2; PHP reads only one.
#[tokio::test]
async fn split_cookies_reach_laravel_as_one() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let request = get("/")
            .header("cookie", "XSRF-TOKEN=aa")
            .header("cookie", "laravel_session=bb")
            .header("cookie", "c=3");
        client.fetch(request.body(body("")).unwrap()).await;
        let seen = laravel.last();
        let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["XSRF-TOKEN=aa; laravel_session=bb; c=3"]);
    }
}

#[tokio::test]
async fn forwarding_headers_in_trailers_are_dropped() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut client = Client::http2(&edge).await;
    let mut trailers = hyper::HeaderMap::new();
    trailers.insert("x-forwarded-for", "10.1.1.1".parse().unwrap());
    trailers.insert("x-checksum", "1".parse().unwrap());
    let frames = [
        Frame::data(Bytes::from_static(b"abc")),
        Frame::trailers(trailers),
    ];
    let stream = StreamBody::new(futures_util::stream::iter(frames.map(Ok)));
    let request = post("/trailers").header("trailer", "x-checksum, x-forwarded-for");
    let request = request.body(BodyExt::boxed_unsync(stream)).unwrap();
    assert_eq!(client.fetch(request).await.text(), "x-checksum");
}

#[tokio::test]
async fn request_with_too_many_headers_gets_431() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let mut request = get("/");
        for number in 0..101 {
            request = request.header(format!("x-{number}"), "1");
        }
        let answer = client.fetch(request.body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    assert!(laravel.requests().is_empty());
}

/// A client that found both would wait for the next response on a closed connection.
#[tokio::test]
async fn http10_client_that_asks_for_keep_alive_hears_close_only() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}
