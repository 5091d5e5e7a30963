//! Headers of a request in which a client claims an address, a host or a protocol: one
//! `name: value` on each line.

#![no_main]

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use pwd_edge::core::client_ip::ClientIp;
use pwd_edge::forwarded;

fuzz_target!(|head: &[u8]| {
    let mut headers = read(head);
    let host = headers.get(HOST).cloned();
    let innocent: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_innocent(name))
        .cloned()
        .collect();
    forwarded::remove_spoofable(&mut headers);
    assert!(
        !headers.keys().any(|name| FORGED.contains(&&*php_key(name))),
        "{headers:?}"
    );
    assert!(
        innocent.iter().all(|name| headers.contains_key(name)),
        "{headers:?}"
    );

    forwarded::write_headers(&mut headers, ClientIp::new([192, 0, 2, 7].into()));
    for name in headers.keys() {
        let same = headers
            .keys()
            .filter(|other| php_key(other) == php_key(name));
        assert_eq!(same.count(), 1, "PHP takes two names for one: {headers:?}");
        if php_key(name).starts_with("X_FORWARDED_") {
            assert_eq!(headers.get_all(name).iter().count(), 1, "{headers:?}");
        }
    }
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers.get("x-forwarded-host"), host.as_ref());
    let port = headers
        .get("x-forwarded-port")
        .map(|port| port.to_str().expect("is ASCII"));
    assert_eq!(port.is_some(), host.is_some());
    assert!(
        port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)),
        "{headers:?}"
    );
});

fn read(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(MAX_LINES) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Returns the name as `$_SERVER` has it, without `HTTP_`.
fn php_key(name: &HeaderName) -> String {
    name.as_str().replace(['-', '.'], "_").to_ascii_uppercase()
}

/// Returns whether the name says nothing about the client or the URL of the request.
fn is_innocent(name: &HeaderName) -> bool {
    let name = name.as_str();
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain
        && ![
            "x-",
            "forwarded",
            "proxy",
            "client-ip",
            "remote-addr",
            "front-end-https",
            "cf-visitor",
            "fastly-",
            "cloudfront-",
            "true-client-ip",
            "cf-connecting-ip",
            // Only a complete and well-formed trace passes.
            "traceparent",
            "tracestate",
        ]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Headers that Laravel, Symfony and PHP trust from a proxy.
const FORGED: [&str; 16] = [
    "FORWARDED",
    "FRONT_END_HTTPS",
    "PROXY",
    "X_ACCEL_MAPPING",
    "X_FORWARDED_BY",
    "X_FORWARDED_FOR",
    "X_FORWARDED_HOST",
    "X_FORWARDED_PORT",
    "X_FORWARDED_PREFIX",
    "X_FORWARDED_PROTO",
    "X_FORWARDED_SSL",
    "X_ORIGINAL_METHOD",
    "X_ORIGINAL_URL",
    "X_REAL_IP",
    "X_REWRITE_URL",
    "X_SENDFILE_TYPE",
];

const MAX_LINES: usize = 32;
