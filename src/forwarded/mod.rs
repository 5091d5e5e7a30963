//! What Laravel is told about the client: removed from what a stranger sent,
//! then written by us.
//!
//! PHP folds `-`, `_` and `.` in header names into one key, so `X_Forwarded_For`
//! would arrive as `X-Forwarded-For`: names with `_` or `.` are dropped too, and
//! `Proxy`, which PHP would take for the environment's `HTTP_PROXY`.

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use crate::authority::HostPort;
use crate::client::ClientIp;

/// Removes every header by which a client could speak for a proxy.
pub fn strip(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| forges(name))
        .cloned()
        .collect();
    for name in forged {
        headers.remove(name);
    }
}

fn forges(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains(['_', '.'])
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        || matches!(name, "forwarded" | "proxy" | "x-real-ip" | "x-rewrite-url")
}

/// Writes who asked, by which name and port, and that it was over TLS. The
/// protocol is `https` for wss as well: Laravel knows no other word for secure.
pub fn write(headers: &mut HeaderMap, client: ClientIp) {
    let ip = HeaderValue::try_from(client.to_string());
    headers.insert("x-forwarded-for", ip.expect("an address is visible ASCII"));
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert("x-forwarded-port", port(&host));
        headers.insert("x-forwarded-host", host);
    }
}

/// Writes who the client is by its certificate. [`strip`] takes away what a
/// stranger wrote there.
pub fn write_subject(headers: &mut HeaderMap, subject: &str) {
    let subject = HeaderValue::try_from(subject).expect("a subject is visible ASCII and blanks");
    headers.insert("x-forwarded-client-subject", subject);
}

/// The port in a `Host` value, 443 where it names none.
fn port(host: &HeaderValue) -> HeaderValue {
    let named = host.to_str().ok().and_then(HostPort::parse);
    HeaderValue::from(named.and_then(|named| named.port).unwrap_or(443))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_stranger_says_about_himself_survives() {
        let mut headers = HeaderMap::new();
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-prefix",
            "x-forwarded-anything",
            "x-forwarded-client-subject",
            "x-real-ip",
            "x-original-url",
            "x-rewrite-url",
            "proxy",
            "x_forwarded_for",
            "x.forwarded.for",
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static("10.0.0.1"),
            );
        }
        headers.insert("x-http-method-override", HeaderValue::from_static("PUT"));
        strip(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-http-method-override"]);
    }

    #[test]
    fn laravel_learns_client_host_port_and_scheme() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("edge.example:8443"));
        write(&mut headers, ClientIp::new([192, 0, 2, 7].into()));
        let value = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(value("x-forwarded-for"), "192.0.2.7");
        assert_eq!(value("x-forwarded-proto"), "https");
        assert_eq!(value("x-forwarded-host"), "edge.example:8443");
        assert_eq!(value("x-forwarded-port"), "8443");
    }
}
