//! The body of a request on the socket.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::EXPECT;
use hyper::http::request::Parts;

use super::failure::Failure;

/// Reads `body` to its end, and keeps it if it has at most `limit` bytes.
///
/// It reads a longer one, too, so that the client sees the response; but not if the client
/// waits for a response before it sends the body (`Expect: 100-continue`).
///
/// # Errors
/// `too_large`, `incomplete`, or `timeout` after [`BODY_TIMEOUT`].
pub(super) async fn read(head: &Parts, mut body: Incoming, limit: usize) -> Result<Bytes, Failure> {
    let is_declared_too_long = body.size_hint().lower() > limit as u64;
    if is_declared_too_long && head.headers.contains_key(EXPECT) {
        return Err(too_large(limit));
    }
    let reading = async {
        match Limited::new(&mut body, limit).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                while let Some(Ok(_)) = body.frame().await {}
                Err(too_large(limit))
            }
            Err(_) => Err(incomplete()),
        }
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(read) => read,
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!(
                "the body did not arrive within {} s",
                BODY_TIMEOUT.as_secs()
            ),
        )),
    }
}

fn too_large(limit: usize) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body exceeds broadcast.max_body_size ({limit} bytes)"),
    )
}

fn incomplete() -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "incomplete",
        "the body is incomplete",
    )
}

/// The time in which a request's body must arrive; 408 after it. A local client sends 1 MiB in
/// far less.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
