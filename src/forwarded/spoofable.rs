//! Removal of headers with which a client could pretend to be a proxy.
//!
//! PHP folds `-`, `_` and `.` in header names into one key, so `X_Forwarded_For` would
//! arrive as `X-Forwarded-For`. All names with `_` or `.` are therefore removed, too. So is
//! `Proxy`, which PHP would read as the environment variable `HTTP_PROXY` (httpoxy).

use hyper::header::{HeaderMap, HeaderName};

use super::traceparent;

/// Removes every header with which a client could pretend to be a proxy, and a malformed
/// `traceparent`.
pub fn remove_spoofable(headers: &mut HeaderMap) {
    traceparent::normalize(headers);
    let spoofable: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_spoofable(name))
        .cloned()
        .collect();
    for name in spoofable {
        headers.remove(name);
    }
}

fn is_spoofable(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.bytes().any(|b| matches!(b, b'_' | b'.'))
        || SPOOFABLE_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
        || SPOOFABLE_HEADERS.contains(&name)
}

/// Prefixes of headers with which proxies report the original request and its client.
const SPOOFABLE_PREFIXES: [&str; 4] = ["x-forwarded-", "x-original-", "x-real-", "x-rewrite-"];

/// Headers with which proxies and CDNs report the client, and from which applications and
/// their packages read TLS, host and address. `X-HTTP-Method-Override` is not among them:
/// it is a feature of the application for its own clients.
const SPOOFABLE_HEADERS: [&str; 33] = [
    "x-edge-request",
    "forwarded",
    "proxy",
    "x-forwarded",
    "forwarded-for",
    "x-request-id",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-originating-ip",
    "x-proxyuser-ip",
    "client-ip",
    "remote-addr",
    "true-client-ip",
    "x-true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-visitor",
    "fastly-client-ip",
    "fastly-ssl",
    "cloudfront-forwarded-proto",
    "cloudfront-viewer-address",
    "x-azure-clientip",
    "x-envoy-external-address",
    "front-end-https",
    "x-arr-ssl",
    "x-scheme",
    "x-url-scheme",
    "x-host",
    "x-http-host-override",
    // They make Symfony's BinaryFileResponse name a file instead of sending its bytes. That is
    // for the web server to choose, not for its clients.
    "x-sendfile-type",
    "x-accel-mapping",
];

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn spoofable_headers_are_removed() {
        let mut headers = HeaderMap::new();
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-prefix",
            "x-forwarded-anything",
            "x-forwarded-client-subject",
            "x-real-ip",
            "x-request-id",
            "client-ip",
            "cf-connecting-ip",
            "x-original-url",
            "x-rewrite-url",
            "proxy",
            "x-edge-request",
            "x_edge_request",
            "x_forwarded_for",
            "x.forwarded.for",
            "x-forwarded-ssl",
            "x-forwarded-server",
            "x-real-host",
            "x-rewrite-path",
            "front-end-https",
            "cf-visitor",
            "x-http-host-override",
            "x-sendfile-type",
            "x-accel-mapping",
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static("10.0.0.1"),
            );
        }
        headers.insert("x-http-method-override", HeaderValue::from_static("PUT"));
        remove_spoofable(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-http-method-override"]);
    }
}
