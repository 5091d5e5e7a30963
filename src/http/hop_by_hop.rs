//! Headers that mean one connection only (RFC 9110 §7.6.1).

use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

/// Removes hop-by-hop headers, those that `Connection` names included. What
/// `Connection` names can take away no header that says who the client is: those
/// are written after this.
pub(super) fn remove_headers(headers: &mut HeaderMap) {
    // Mostly there is none; to compare the few names is cheaper than to look for each.
    if !headers.keys().any(|name| HOP_BY_HOP_HEADERS.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != hyper::header::HOST)
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP_HEADERS) {
        headers.remove(name);
    }
}

/// `HTTP2-Settings` goes with `Upgrade: h2c`, which nobody is asked for (RFC 9113 §3.1);
/// `Proxy-Authorization` is for a proxy that asked for it.
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
    fn what_connection_names_goes_too() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("close, X-One"));
        headers.append(CONNECTION, HeaderValue::from_static("x-two, host"));
        for name in [
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
        assert_eq!(left, ["host", "x-three"]);
    }

    #[test]
    fn leftovers_go_where_no_connection_names_them() {
        for name in ["http2-settings", "proxy-authorization", "keep-alive"] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("v"));
            remove_headers(&mut headers);
            assert!(headers.is_empty(), "{name}");
        }
    }
}
