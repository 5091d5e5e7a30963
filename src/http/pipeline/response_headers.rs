//! The stage that adds the headers of every response: request id, HSTS, and the end of an
//! HTTP/1 connection.

use hyper::header::{CONNECTION, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::{Response, Version};

use super::request_context::RequestContext;
use crate::core::units::ConfigDuration;
use crate::forwarded::X_REQUEST_ID;
use crate::http::Rejection;

/// Adds the common headers of responses.
#[derive(Debug)]
pub(super) struct ResponseHeaders {
    hsts: Option<HeaderValue>,
}

impl ResponseHeaders {
    /// Creates the stage. Without `hsts_max_age` there is no `Strict-Transport-Security`.
    pub(super) fn new(hsts_max_age: Option<ConfigDuration>) -> Self {
        Self {
            hsts: hsts_max_age.map(hsts_header),
        }
    }

    /// Adds the headers to `response`. An application's own HSTS header stays.
    pub(super) fn add<B>(&self, context: &RequestContext<'_>, response: &mut Response<B>) {
        if context.version < Version::HTTP_11 {
            // Otherwise hyper adds `keep-alive` for a client that asks for it.
            *response.version_mut() = Version::HTTP_10;
        }
        let headers = response.headers_mut();
        let mut id = context.client_info.request_id.header();
        // Never indexed (RFC 7541 §6.2.3): the id never repeats, so HPACK would only fill
        // its table with it and search the table for each response.
        id.set_sensitive(true);
        headers.insert(X_REQUEST_ID, id);
        if is_last_response(context) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(hsts) = &self.hsts {
            headers
                .entry(STRICT_TRANSPORT_SECURITY)
                .or_insert_with(|| hsts.clone());
        }
    }
}

/// Returns whether the connection ends after this response. HTTP/2 has no such header: the
/// driver of the connection ends it after too many rejections.
fn is_last_response(context: &RequestContext<'_>) -> bool {
    if context.version != Version::HTTP_11 {
        // An HTTP/1.0 client gets one response and the end of the connection.
        return context.version < Version::HTTP_11;
    }
    let is_flooding = context.is_direct() && context.downstream.rejections.is_exceeded();
    is_flooding
        || context.unread_bytes.end_connection()
        || context
            .rejection()
            .is_some_and(Rejection::closes_connection)
}

/// Returns the value of `Strict-Transport-Security` (RFC 6797 §6.1).
fn hsts_header(max_age: ConfigDuration) -> HeaderValue {
    let text = format!("max-age={}", max_age.get().as_secs());
    HeaderValue::try_from(text).expect("digits are visible ASCII")
}
