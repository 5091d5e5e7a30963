//! The framing of messages to and from a server: where a body ends (RFC 9112 §6).

use hyper::body::Body as _;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode};

use crate::core::body::Body;
use crate::core::header_values::{InvalidContentLength, unify_content_length};

/// The reason why the end of a response's body is not known for sure.
#[derive(Debug, thiserror::Error)]
pub(super) enum FramingError {
    /// There is another transfer coding than `chunked`, which the edge has not asked for. Without
    /// it the body would reach the client encoded, and nobody would decode it.
    #[error("its Transfer-Encoding is not chunked")]
    TransferCoding,
    /// `Content-Length` is no number, or two different ones.
    #[error(transparent)]
    Length(#[from] InvalidContentLength),
}

/// Declares a request body without a length as chunked. hyper does so by itself, but not for
/// `GET` and `HEAD`, whose body it would drop.
pub(super) fn declare_body(request: &mut Request<Body>) {
    let body = request.body();
    if body.is_end_stream()
        || body.size_hint().exact().is_some()
        || request.headers().contains_key(CONTENT_LENGTH)
    {
        return;
    }
    let chunked = HeaderValue::from_static("chunked");
    request.headers_mut().insert(TRANSFER_ENCODING, chunked);
}

/// Makes sure that `response` has at most one `Content-Length`, and none that its framing
/// overrides.
///
/// # Errors
/// Returns [`FramingError`] if its transfer coding or its length is invalid.
pub(super) fn normalize_response(response: &mut Response<Body>) -> Result<(), FramingError> {
    let is_empty = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if headers.contains_key(TRANSFER_ENCODING) {
        if !is_chunked(headers) {
            return Err(FramingError::TransferCoding);
        }
        // Chunked overrides a length (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    }
    if is_empty {
        // RFC 9110 §8.6.
        headers.remove(CONTENT_LENGTH);
    }
    Ok(unify_content_length(headers)?)
}

/// Returns whether `chunked` is the only transfer coding.
fn is_chunked(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    values.next().is_some_and(is_chunked) && values.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::body;

    #[test]
    fn only_chunked_is_accepted_as_transfer_coding() {
        let result = |codings: &[&'static str]| {
            let mut response = Response::new(body::empty());
            for coding in codings {
                let coding = HeaderValue::from_static(coding);
                response.headers_mut().append(TRANSFER_ENCODING, coding);
            }
            normalize_response(&mut response).is_ok()
        };
        assert!(result(&[]) && result(&["chunked"]) && result(&["Chunked"]));
        for wrong in [
            &["gzip, chunked"][..],
            &["gzip", "chunked"],
            &["chunked", "chunked"],
            &["gzip"],
            &[""],
        ] {
            assert!(!result(wrong), "{wrong:?}");
        }
    }
}
