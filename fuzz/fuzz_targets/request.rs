//! The head of a client's request: method and target on the first line, then one
//! `name: value` on each line.

#![no_main]

use std::net::Ipv4Addr;

use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use pwd_edge::core::client_ip::ClientIp;
use pwd_edge::core::host_port::HostPort;
use pwd_edge::forwarded::{ClientInfo, TrustedHeaders, TrustedProxies};
use pwd_edge::http::normalize_request;

const MAX_TARGET_BYTES: usize = 8 * 1024;

fuzz_target!(|head: &[u8]| {
    let Some(original) = read(head) else {
        return;
    };
    let client = ClientIp::new(Ipv4Addr::LOCALHOST.into());
    let mut request = original.clone();
    let direct = ClientInfo::untrusted(client);
    if let Err(refusal) = normalize_request(&mut request, &direct, MAX_TARGET_BYTES) {
        assert!(refusal.status().is_client_error(), "{refusal:?}");
        return;
    }
    check(&original, &request);
    if let Some(authority) = request.uri().authority() {
        let host = request.headers()[HOST].to_str().expect("is ASCII");
        let name = |text| HostPort::parse(text).map(|parsed| parsed.host);
        assert_eq!(name(host), name(authority.as_str()), "{request:?}");
    }
    // Normalization is complete: the next server would change nothing more.
    let mut again = request.clone();
    normalize_request(&mut again, &direct, MAX_TARGET_BYTES).expect("it is valid");
    assert_eq!(again.headers(), request.headers());

    // Likewise from a proxy whose host is trusted.
    let proxies = TrustedProxies::try_from(vec!["127.0.0.1".to_owned()]).expect("a network");
    let forwarded = ClientInfo::from_headers(client, original.headers(), &proxies, &believed());
    let mut proxied = original.clone();
    normalize_request(&mut proxied, &forwarded, MAX_TARGET_BYTES)
        .expect("a proxy's name for the host is valid");
    check(&original, &proxied);
});

/// Checks that `request` can be read in one way only, and in the same way as `original`.
fn check(original: &Request<()>, request: &Request<()>) {
    assert!(request.headers().len() <= 100);
    let method = request.method();
    assert!(
        *method != Method::CONNECT && *method != Method::TRACE,
        "{request:?}"
    );
    assert_eq!(method.as_str(), method.as_str().to_ascii_uppercase());
    assert!(request.uri().path().starts_with('/'), "{request:?}");
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    assert!(target.len() <= MAX_TARGET_BYTES);

    let count = |name| request.headers().get_all(name).iter().count();
    assert_eq!(count(HOST), 1, "{request:?}");
    let host = request.headers()[HOST].to_str().expect("is ASCII");
    assert!(HostPort::is_valid(host), "{request:?}");
    assert!(
        count(AUTHORIZATION) <= 1 && count(COOKIE) <= 1,
        "{request:?}"
    );
    assert!(
        count(TRANSFER_ENCODING) <= 1 && count(CONTENT_LENGTH) <= 1,
        "{request:?}"
    );
    if let Some(coding) = request.headers().get(TRANSFER_ENCODING) {
        assert!(
            coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
            "{request:?}"
        );
    }

    let values = |request: &Request<()>, name: &HeaderName| {
        let values = request.headers().get_all(name).iter();
        let values = values.map(|value| value.as_bytes().to_vec());
        values.collect::<Vec<_>>()
    };
    let crumbs = values(original, &COOKIE).join(&b"; "[..]);
    assert_eq!(values(request, &COOKIE).concat(), crumbs);
    let names = original.headers().keys().chain(request.headers().keys());
    for name in names.filter(|name| ![CONTENT_LENGTH, COOKIE, HOST].contains(name)) {
        assert_eq!(values(original, name), values(request, name), "{name}");
    }
}

fn believed() -> TrustedHeaders {
    serde_json::from_str(r#"["x-forwarded-host"]"#).expect("it is known")
}

fn read(head: &[u8]) -> Option<Request<()>> {
    let mut lines = head.split(|byte| *byte == b'\n').take(MAX_LINES);
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(first.next()?).ok()?;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    Some(request)
}

/// More headers than a request may have.
const MAX_LINES: usize = 128;
