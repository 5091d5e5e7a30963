//! What Laravel is told about the client: removed from what a stranger sent,
//! then written by us; what a proxy of ours says counts.
//!
//! PHP folds `-`, `_` and `.` in header names into one key, so `X_Forwarded_For`
//! would arrive as `X-Forwarded-For`: names with `_` or `.` are dropped too, and
//! `Proxy`, which PHP would take for the environment's `HTTP_PROXY`.

mod proxy_protocol;
mod request_id;
mod trace;
mod trusted;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};

pub use self::proxy_protocol::read as read_proxy_header;
pub use self::request_id::RequestId;
pub use self::trusted::TrustedProxies;
use self::trusted::single;
use crate::authority::HostPort;
use crate::client::ClientIp;

/// Who sends one request, as far as it can be believed.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The client that all limits and logs mean.
    pub client: ClientIp,
    /// The request's name.
    pub request_id: RequestId,
    /// The host that the client asked a trusted proxy for.
    pub host: Option<HeaderValue>,
    told: Told,
}

/// What else a trusted proxy says.
#[derive(Clone, Debug, Default)]
struct Told {
    is_http: bool,
    port: Option<u16>,
    prefix: Option<HeaderValue>,
}

impl Sender {
    /// Reads what `peer` says about itself in `headers`. Only one of `proxies`
    /// is believed; of anybody else there is the address alone.
    pub fn read(peer: ClientIp, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        if !proxies.trusts(peer) {
            return Self::stranger(peer);
        }
        let text = |name| single(headers, &HeaderName::from_static(name));
        let host = text("x-forwarded-host").filter(|host| HostPort::is_sound(host));
        let prefix = text("x-forwarded-prefix").filter(|prefix| prefix.starts_with('/'));
        Self {
            client: proxies.client(peer, headers),
            request_id: single(headers, &X_REQUEST_ID)
                .and_then(RequestId::read)
                .unwrap_or_default(),
            host: host.and_then(|host| HeaderValue::from_str(host).ok()),
            told: Told {
                is_http: text("x-forwarded-proto")
                    .is_some_and(|it| it.eq_ignore_ascii_case("http")),
                port: text("x-forwarded-port").and_then(|port| port.parse().ok()),
                prefix: prefix.and_then(|prefix| HeaderValue::from_str(prefix).ok()),
            },
        }
    }

    fn stranger(client: ClientIp) -> Self {
        Self {
            client,
            request_id: RequestId::new(),
            host: None,
            told: Told::default(),
        }
    }

    /// Writes who asked, by which name and port, and that it was over TLS,
    /// unless a trusted proxy says that its client came without. What a client
    /// wrote there must have been taken away by [`strip`].
    pub fn write(&self, headers: &mut HeaderMap) {
        write(headers, self.client);
        if self.told.is_http {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
        if self.told.is_http || self.told.port.is_some() {
            let port = self.told.port.or_else(|| named_port(headers.get(HOST)));
            headers.insert(X_FORWARDED_PORT, HeaderValue::from(port.unwrap_or(80)));
        }
        if let Some(prefix) = &self.told.prefix {
            headers.insert(X_FORWARDED_PREFIX, prefix.clone());
        }
        headers.insert(X_REQUEST_ID, self.request_id.header());
    }
}

/// Removes every header by which a client could speak for a proxy, and a
/// `traceparent` that nobody could read.
pub fn strip(headers: &mut HeaderMap) {
    trace::settle(headers);
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
    name.bytes().any(|b| matches!(b, b'_' | b'.'))
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        || FORGED.contains(&name)
}

/// What the proxies of this world call themselves and their clients.
const FORGED: [&str; 13] = [
    "forwarded",
    "proxy",
    "x-forwarded",
    "forwarded-for",
    "x-real-ip",
    "x-rewrite-url",
    "x-request-id",
    "x-client-ip",
    "x-cluster-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
];

/// Writes who asked, by which name and port, and that it was over TLS. The
/// protocol is `https` for wss as well: Laravel knows no other word for secure.
pub fn write(headers: &mut HeaderMap, client: ClientIp) {
    let ip = client.as_text(HeaderValue::from_str);
    headers.insert(X_FORWARDED_FOR, ip.expect("an address is visible ASCII"));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    if let Some(host) = headers.get(HOST).cloned() {
        let port = named_port(Some(&host));
        let port = port.map_or_else(|| HeaderValue::from_static("443"), HeaderValue::from);
        headers.insert(X_FORWARDED_PORT, port);
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// Writes who the client is by its certificate. [`strip`] takes away what a
/// stranger wrote there.
pub fn write_subject(headers: &mut HeaderMap, subject: &str) {
    let subject = HeaderValue::try_from(subject).expect("a subject is visible ASCII and blanks");
    headers.insert("x-forwarded-client-subject", subject);
}

/// The port in a `Host` value that is settled, if it names one.
fn named_port(host: Option<&HeaderValue>) -> Option<u16> {
    HostPort::port_of(host?.to_str().ok()?)
}

// Names known beforehand: those given as text would be parsed for each request.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
            "x-request-id",
            "client-ip",
            "cf-connecting-ip",
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

    fn forwarded(peer: &str, said: &[(&'static str, &'static str)]) -> HeaderMap {
        let proxies = TrustedProxies::try_from(vec!["10.0.0.0/8".to_owned()]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("edge.example"));
        for (name, value) in said {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let peer = ClientIp::new(peer.parse().unwrap());
        let sender = Sender::read(peer, &headers, &proxies);
        strip(&mut headers);
        sender.write(&mut headers);
        headers
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        let said = [
            ("x-forwarded-for", "192.0.2.9"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-prefix", "/desk"),
            ("x-request-id", "from-proxy"),
            ("x-real-ip", "6.6.6.6"),
        ];
        let headers = forwarded("10.0.0.1", &said);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.9");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-port"], "80");
        assert_eq!(headers["x-forwarded-prefix"], "/desk");
        assert_eq!(headers["x-request-id"], "from-proxy");
        assert!(!headers.contains_key("x-real-ip"));

        let headers = forwarded("192.0.2.1", &said);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-port"], "443");
        assert!(!headers.contains_key("x-forwarded-prefix"));
        assert_ne!(headers["x-request-id"], "from-proxy");
    }
}
