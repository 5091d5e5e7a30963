//! The same over HTTP/2, where the framing is the protocol's, but names, hosts
//! and lengths are not.

use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::RecordingApp;
use crate::support::Edge;
use crate::support::http::{Body, Client, body, streamed};

/// Sends over HTTP/2 as it is; `None` if the stream was reset.
async fn status(edge: &Edge, request: Request<Body>) -> Option<StatusCode> {
    let Client::Http2(mut sender) = Client::http2(edge).await else {
        unreachable!()
    };
    let answer = sender.send_request(request).await;
    answer.ok().map(|answer| answer.status())
}

fn request(uri: &str, headers: &[(&'static str, &'static str)]) -> Request<Body> {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body("")).unwrap()
}

#[tokio::test]
async fn invalid_http2_request_is_rejected() {
    let record = RecordingApp::default();
    let edge = Edge::configured(&record.start().await, "");
    for (uri, headers) in [
        ("https://localhost/row", &[("host", "other")][..]),
        ("https://user@localhost/row", &[]),
        ("https://local..host/row", &[]),
        ("https://localhost:0/row", &[]),
        ("https://localhost/row%00", &[]),
        ("ftp://localhost/row", &[]),
    ] {
        let status = status(&edge, request(uri, headers)).await;
        let refused = status.is_none_or(|status| status == StatusCode::BAD_REQUEST);
        assert!(refused, "{uri} {headers:?}: {status:?}");
        assert!(record.take().is_empty(), "{uri} {headers:?}");
    }
    for method in [Method::TRACE, Method::CONNECT] {
        let mut request = request("https://localhost/row", &[]);
        *request.method_mut() = method.clone();
        if method == Method::CONNECT {
            *request.uri_mut() = "localhost:443".parse().unwrap();
        }
        let status = status(&edge, request).await;
        let refused = status.is_none_or(|status| status == StatusCode::METHOD_NOT_ALLOWED);
        assert!(refused, "{method}: {status:?}");
        assert!(record.take().is_empty(), "{method}");
    }
    let long = format!("https://localhost/{}", "a".repeat(8192));
    assert_eq!(
        status(&edge, request(&long, &[])).await,
        Some(StatusCode::URI_TOO_LONG)
    );
    assert!(record.take().is_empty());
}

#[tokio::test]
async fn http2_request_has_one_length_for_the_app() {
    let record = RecordingApp::default();
    let edge = Edge::configured(&record.start().await, "");
    for lengths in [["2", "2"], ["2", "3"]] {
        let is_one = lengths[0] == lengths[1];
        let mut request = request("https://localhost/row", &[]);
        *request.method_mut() = Method::POST;
        *request.body_mut() = body("ab");
        for length in lengths {
            let length = HeaderValue::from_static(length);
            request.headers_mut().append(CONTENT_LENGTH, length);
        }
        let status = status(&edge, request).await;
        if is_one {
            assert_eq!(status, Some(StatusCode::OK));
        } else {
            let is_rejected = status.is_none_or(|status| status == StatusCode::BAD_REQUEST);
            assert!(is_rejected, "{status:?}");
        }
        let saw = record.take();
        assert_eq!(saw.len(), usize::from(is_one));
        for saw in saw {
            assert_eq!(saw.matches("content-length: 2\r\n").count(), 1, "{saw}");
            assert!(saw.ends_with("\r\n\r\nab"), "{saw}");
        }
    }
}

/// hyper declares such a body by itself for other methods only.
#[tokio::test]
async fn http2_get_keeps_its_body_of_unknown_length() {
    let record = RecordingApp::default();
    let edge = Edge::configured(&record.start().await, "");
    let (pieces, sent) = streamed();
    let mut request = request("https://localhost/row", &[]);
    *request.body_mut() = sent;
    let sending = async move { pieces.send("ab".into()).await.unwrap() };
    let (status, ()) = tokio::join!(status(&edge, request), sending);
    assert_eq!(status, Some(StatusCode::OK));
    let saw = record.take().remove(0);
    assert!(saw.starts_with("GET /row HTTP/1.1\r\n"), "{saw}");
    assert!(saw.contains("transfer-encoding: chunked\r\n"), "{saw}");
    assert!(saw.ends_with("2\r\nab\r\n0\r\n\r\n"), "{saw}");
}

#[tokio::test]
async fn http2_request_is_passed_on_as_valid_http1() {
    let record = RecordingApp::default();
    let edge = Edge::configured(&record.start().await, "");
    let mut sent = request(
        "https://localhost/row?q",
        &[
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ],
    );
    sent.headers_mut()
        .insert(HOST, HeaderValue::from_static("LOCALHOST"));
    let odd = HeaderName::from_static("x-odd");
    sent.headers_mut()
        .insert(odd, HeaderValue::from_bytes(b"\xff\xfe").unwrap());
    assert_eq!(status(&edge, sent).await, Some(StatusCode::OK));
    let saw = record.take().remove(0);
    assert!(saw.starts_with("GET /row?q HTTP/1.1\r\n"), "{saw}");
    assert!(saw.contains("cookie: a=1; b=2\r\n"), "{saw}");
    assert!(saw.contains("x-forwarded-for: 127.0.0.1\r\n"), "{saw}");
    assert!(!saw.contains("6.6.6.6"), "{saw}");
    assert_eq!(
        saw.matches("host: ").count(),
        2,
        "Host and X-Forwarded-Host: {saw}"
    );
}
