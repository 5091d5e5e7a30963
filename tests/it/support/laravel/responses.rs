//! The responses of the routes.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::Body;

/// Responds as the real app: with a redirect unless the client prefers JSON.
pub(super) fn unauthenticated(headers: &HeaderMap) -> Response<Body> {
    let accept = headers
        .get("accept")
        .map_or("", |value| value.to_str().unwrap());
    if accept.contains("/json") {
        json_answer(
            StatusCode::UNAUTHORIZED,
            &json!({ "message": "Unauthenticated." }),
        )
    } else {
        Response::builder()
            .status(StatusCode::FOUND)
            .header("location", "http://localhost/login")
            .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
            .unwrap()
    }
}

/// More than the kernel keeps for a client that does not read.
pub(super) fn large() -> Response<Body> {
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let frames = (0..1024).map(move |_| Ok(Frame::data(piece.clone())));
    let frames = StreamBody::new(futures_util::stream::iter(frames));
    Response::new(BodyExt::boxed_unsync(frames))
}

pub(super) fn odd_headers() -> Response<Body> {
    let mut response = text("odd");
    let headers = response.headers_mut();
    for (name, value) in [
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("host", "127.0.0.1:8000"),
        ("x-kept", "yes"),
        ("x-request-id", "of-the-app"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    response
}

pub(super) fn owned_text(text: String) -> Response<Body> {
    Response::new(
        Full::new(Bytes::from(text))
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

pub(super) fn text(text: &'static str) -> Response<Body> {
    Response::new(
        Full::new(Bytes::from(text))
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

pub(super) fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string()));
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.map_err(|never| match never {}).boxed_unsync())
        .unwrap()
}
