//! Removal of trailer fields that must be headers. Some servers, PHP's built-in one among
//! them, merge trailers into the headers, after all checks of these.

use hyper::header::{HeaderMap, HeaderName};

use super::hop_by_hop;
use crate::forwarded;

/// Removes hop-by-hop and spoofable fields, as from the headers, and those that are not
/// allowed in trailers: framing, routing, conditions, authentication, and the format of the
/// content (RFC 9110 §6.5.1).
pub(super) fn remove_forbidden(trailers: &mut HeaderMap) {
    hop_by_hop::remove_headers(trailers);
    forwarded::remove_spoofable(trailers);
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_forbidden(name.as_str()))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

fn is_forbidden(name: &str) -> bool {
    FORBIDDEN_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || FORBIDDEN_FIELDS.contains(&name)
}

/// `Content-Length`, `Content-Type` and so on; `If-Match` and the like; `Sec-Fetch-Site`;
/// `X-CSRF-TOKEN`, `X-XSRF-TOKEN` and `X-HTTP-Method-Override` of applications.
const FORBIDDEN_PREFIXES: [&str; 6] = ["content-", "if-", "sec-", "x-csrf-", "x-xsrf-", "x-http-"];

const FORBIDDEN_FIELDS: [&str; 11] = [
    "authorization",
    "cache-control",
    "cookie",
    "expect",
    "host",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "trailer",
];

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn fields_that_must_be_headers_are_removed() {
        let mut trailers = HeaderMap::new();
        for name in [
            "cookie",
            "authorization",
            "content-length",
            "if-match",
            "x-forwarded-for",
            "x-http-method-override",
            "connection",
            "x-checksum",
            "server-timing",
        ] {
            trailers.insert(name, HeaderValue::from_static("v"));
        }
        remove_forbidden(&mut trailers);
        let mut left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["server-timing", "x-checksum"]);
    }
}
