//! Removal of hop-by-hop headers, which apply to one connection only (RFC 9110 §7.6.1).

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

use crate::core::header_values::list_elements;

/// Removes the hop-by-hop headers, including those that `Connection` names. A client
/// cannot remove a forwarding header by naming it there, since the edge writes those
/// afterwards, nor a header that says where the request goes and where its body ends.
pub(super) fn remove_headers(headers: &mut HeaderMap) {
    // Most requests have none. Comparing their few names is cheaper than hashing and
    // looking up each of the nine.
    if !headers.keys().any(|name| HOP_BY_HOP_HEADERS.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = list_elements(headers, &CONNECTION)
        .filter_map(|name| name.parse().ok())
        .filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP_HEADERS) {
        headers.remove(name);
    }
}

/// The headers that are always removed. `HTTP2-Settings` belongs to `Upgrade: h2c`, which
/// is obsolete (RFC 9113 §3.1); `Proxy-Authorization` is meant for a proxy that requested
/// it, and the edge does not.
const HOP_BY_HOP_HEADERS: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn headers_named_by_connection_are_removed() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("close, X-One"));
        headers.append(
            CONNECTION,
            HeaderValue::from_static("x-two, host, content-length"),
        );
        for name in [
            "content-length",
            "x-one",
            "x-two",
            "x-three",
            "host",
            "keep-alive",
            "te",
            "upgrade",
            "http2-settings",
            "proxy-authorization",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        remove_headers(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "x-three"]);
    }

    #[test]
    fn hop_by_hop_headers_without_connection_are_removed() {
        for name in ["http2-settings", "proxy-authorization", "keep-alive"] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
            remove_headers(&mut headers);
            assert!(headers.is_empty(), "{name}");
        }
    }
}
