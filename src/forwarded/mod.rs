//! Forwarding headers: removes those that a client could have spoofed, reads those of
//! trusted proxies, and writes the `X-Forwarded-*` headers, the request id and the client
//! certificate's subject for the upstream. Also parses the PROXY protocol.

mod proxy_protocol;
mod request_id;
mod spoofable;
mod traceparent;
mod trusted;
mod trusted_headers;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};

pub use self::proxy_protocol::read_header as read_proxy_header;
pub(crate) use self::request_id::RequestId;
pub use self::spoofable::remove_spoofable;
pub use self::trusted::TrustedProxies;
pub(crate) use self::trusted_headers::TrustedHeader;
pub use self::trusted_headers::TrustedHeaders;
use crate::core::client_ip::ClientIp;
use crate::core::header_values::single_text;
use crate::core::host_port::{self, HostPort};
use crate::core::request_path::UrlPath;

/// The client of a request, from trusted sources only.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// The address of the client, for limits, logs and the upstream.
    pub(crate) client: ClientIp,
    /// The id of the request.
    pub(crate) request_id: RequestId,
    /// The `X-Forwarded-Host` of a trusted proxy: the host that the client requested.
    pub host: Option<HeaderValue>,
    proxy_headers: ProxyHeaders,
}

/// The other values that a trusted proxy has sent.
#[derive(Clone, Debug, Default)]
struct ProxyHeaders {
    /// Whether `X-Forwarded-Proto` is `http`: the client came without TLS.
    is_http: bool,
    port: Option<u16>,
    prefix: Option<HeaderValue>,
}

impl ClientInfo {
    /// Returns the client of a request that came from `peer`. If `peer` is one of `proxies`,
    /// this reads the headers that are in `trusted`; an invalid host, port or prefix is
    /// ignored. For any other peer, only its address counts.
    pub fn from_headers(
        peer: ClientIp,
        headers: &HeaderMap,
        proxies: &TrustedProxies,
        trusted: &TrustedHeaders,
    ) -> Self {
        use TrustedHeader::{For, Host, Port, Prefix, Proto, RequestId as Id};
        if !proxies.trusts(peer) {
            return Self::untrusted(peer);
        }
        let by_cloudflare = proxies.is_cloudflare(peer);
        let text = |header: TrustedHeader| {
            let is_trusted = trusted.contains(header) && (!by_cloudflare || header.is_set_by_all());
            is_trusted
                .then(|| single_text(headers, &header.name()))
                .flatten()
        };
        let header_value = |text| HeaderValue::from_str(text).ok();
        let host = text(Host).filter(|host| HostPort::is_valid(host));
        let host = host.map(host_port::without_empty_port);
        let proto = text(Proto);
        let prefix = text(Prefix).filter(|prefix| is_valid_prefix(prefix));
        Self {
            client: proxies.find_client(peer, headers, trusted.contains(For)),
            request_id: text(Id).and_then(RequestId::parse).unwrap_or_default(),
            host: host.and_then(header_value),
            proxy_headers: ProxyHeaders {
                is_http: proto.is_some_and(|proto| proto.eq_ignore_ascii_case("http")),
                port: text(Port).and_then(host_port::parse_port),
                prefix: prefix.and_then(header_value),
            },
        }
    }

    /// Returns a client with a new request id, whose headers are ignored.
    pub fn untrusted(client: ClientIp) -> Self {
        Self {
            client,
            request_id: RequestId::new(),
            host: None,
            proxy_headers: ProxyHeaders::default(),
        }
    }

    /// Writes the forwarding headers: address, host, port, and `https`, unless a trusted
    /// proxy reports that the client came without TLS. [`remove_spoofable`] must have
    /// removed those that the client sent.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        write_headers(headers, self.client);
        let proxy_headers = &self.proxy_headers;
        if proxy_headers.is_http {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
        if proxy_headers.is_http || proxy_headers.port.is_some() {
            let port = proxy_headers.port.or_else(|| host_port(headers.get(HOST)));
            headers.insert(X_FORWARDED_PORT, HeaderValue::from(port.unwrap_or(80)));
        }
        if let Some(prefix) = &proxy_headers.prefix {
            headers.insert(X_FORWARDED_PREFIX, prefix.clone());
        }
        headers.insert(X_REQUEST_ID, self.request_id.header());
    }
}

/// Returns whether `prefix` is a plain path that Laravel may put before the paths of its
/// links. Any other text could become markup or another site there.
fn is_valid_prefix(prefix: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    prefix.bytes().all(is_plain) && UrlPath::try_from(prefix.to_owned()).is_ok()
}

/// Writes `X-Forwarded-For`, `-Proto`, `-Host` and `-Port` for a request over TLS. The
/// protocol of a WebSocket is `https` as well, since Laravel knows no other value for TLS.
pub fn write_headers(headers: &mut HeaderMap, client: ClientIp) {
    let ip = client.with_text(HeaderValue::from_str);
    headers.insert(X_FORWARDED_FOR, ip.expect("an address is visible ASCII"));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    if let Some(host) = headers.get(HOST).cloned() {
        let port = host_port(Some(&host))
            .map_or_else(|| HeaderValue::from_static("443"), HeaderValue::from);
        headers.insert(X_FORWARDED_PORT, port);
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// Writes the subject of the client's certificate. [`remove_spoofable`] removes the header
/// from what a client sends.
///
/// # Panics
/// Never: a `ClientSubject` consists of visible ASCII and spaces.
pub(crate) fn write_client_subject(headers: &mut HeaderMap, subject: &str) {
    let subject = HeaderValue::try_from(subject).expect("a subject is visible ASCII and spaces");
    headers.insert("x-forwarded-client-subject", subject);
}

/// Returns the port in a valid `Host` value.
fn host_port(host: Option<&HeaderValue>) -> Option<u16> {
    HostPort::port_of(host?.to_str().ok()?)
}

// Constants, since a name given as text would be parsed for each request.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The header with the [`RequestId`].
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Marks the requests in which the edge asks Laravel who a user is and what they may see,
/// so that Laravel can exempt them from its throttle. An upload is the user's own request
/// and has no mark. [`remove_spoofable`] removes the header from what a client sends.
pub(crate) const EDGE_REQUEST: HeaderName = HeaderName::from_static("x-edge-request");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_headers_carry_client_host_port_and_scheme() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("edge.example:8443"));
        write_headers(&mut headers, ClientIp::new([192, 0, 2, 7].into()));
        let value = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(value("x-forwarded-for"), "192.0.2.7");
        assert_eq!(value("x-forwarded-proto"), "https");
        assert_eq!(value("x-forwarded-host"), "edge.example:8443");
        assert_eq!(value("x-forwarded-port"), "8443");
    }

    /// Returns the headers for Laravel when `peer` sends the headers `sent`. The edge trusts
    /// `trusted` of proxies in 10.0.0.0/8 and of Cloudflare.
    fn forwarded(
        peer: &str,
        trusted: &TrustedHeaders,
        sent: &[(&'static str, &'static str)],
    ) -> HeaderMap {
        let proxies = ["10.0.0.0/8", "cloudflare"].map(str::to_owned).to_vec();
        let proxies = TrustedProxies::try_from(proxies).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("edge.example"));
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let peer = ClientIp::new(peer.parse().unwrap());
        let sender = ClientInfo::from_headers(peer, &headers, &proxies, trusted);
        if let Some(host) = &sender.host {
            headers.insert(HOST, host.clone());
        }
        remove_spoofable(&mut headers);
        sender.write_headers(&mut headers);
        headers
    }

    const SAID: [(&str, &str); 7] = [
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.example:8080"),
        ("x-forwarded-port", "8080"),
        ("x-forwarded-prefix", "/desk"),
        ("x-request-id", "from-proxy"),
        ("x-real-ip", "6.6.6.6"),
    ];

    fn all() -> TrustedHeaders {
        serde_json::from_str(
            r#"["x-forwarded-for", "X-Forwarded-Proto", "x-forwarded-host",
                "x-forwarded-port", "x-forwarded-prefix", "x-request-id"]"#,
        )
        .unwrap()
    }

    #[test]
    fn trusted_proxy_by_default_sets_only_address_and_protocol() {
        // Cloudflare passes the others on as clients write them, listed or not.
        for (peer, trusted) in [
            ("10.0.0.1", TrustedHeaders::default()),
            ("173.245.48.5", TrustedHeaders::default()),
            ("173.245.48.5", all()),
        ] {
            let headers = forwarded(peer, &trusted, &SAID);
            assert_eq!(headers["x-forwarded-for"], "192.0.2.9");
            assert_eq!(headers["x-forwarded-proto"], "http");
            assert_eq!(headers["host"], "edge.example");
            assert_eq!(headers["x-forwarded-host"], "edge.example");
            assert_eq!(headers["x-forwarded-port"], "80");
            assert!(!headers.contains_key("x-forwarded-prefix"));
            assert_ne!(headers["x-request-id"], "from-proxy");
            assert!(!headers.contains_key("x-real-ip"));
        }
    }

    #[test]
    fn listed_headers_of_a_trusted_proxy_are_used() {
        let headers = forwarded("10.0.0.1", &all(), &SAID);
        assert_eq!(headers["host"], "evil.example:8080");
        assert_eq!(headers["x-forwarded-host"], "evil.example:8080");
        assert_eq!(headers["x-forwarded-port"], "8080");
        assert_eq!(headers["x-forwarded-prefix"], "/desk");
        assert_eq!(headers["x-request-id"], "from-proxy");
        let none = serde_json::from_str("[]").unwrap();
        let headers = forwarded("10.0.0.1", &none, &SAID);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_ignored() {
        let headers = forwarded("192.0.2.1", &all(), &SAID);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "edge.example");
        assert_eq!(headers["x-forwarded-port"], "443");
        assert!(!headers.contains_key("x-forwarded-prefix"));
        assert_ne!(headers["x-request-id"], "from-proxy");
    }

    #[test]
    fn invalid_forwarded_value_is_dropped() {
        for (name, wrong) in [
            ("x-forwarded-host", "a/b"),
            ("x-forwarded-host", "u@evil.example"),
            ("x-forwarded-host", "edge.example, evil.example"),
            ("x-forwarded-host", ""),
            ("x-forwarded-port", "0"),
            ("x-forwarded-port", "+80"),
            ("x-forwarded-port", "65536"),
            ("x-forwarded-port", "80, 81"),
            ("x-forwarded-prefix", "desk"),
            ("x-forwarded-prefix", "//evil.example"),
            ("x-forwarded-prefix", "/a/../b"),
            ("x-forwarded-prefix", "/a?b"),
            ("x-forwarded-prefix", "/a%2fb"),
            ("x-forwarded-prefix", "/\"onload="),
            ("x-forwarded-proto", "javascript"),
            ("x-forwarded-proto", "http, https"),
            ("x-request-id", "a b"),
        ] {
            let mut headers = forwarded("10.0.0.1", &all(), &[(name, wrong)]);
            let id = headers.remove("x-request-id");
            assert_ne!(id, HeaderValue::from_str(wrong).ok());
            let mut plain = forwarded("10.0.0.1", &all(), &[]);
            plain.remove("x-request-id");
            assert_eq!(headers, plain, "{name}: {wrong}");
        }
        // Said twice, neither counts.
        let twice = [("x-forwarded-host", "a.example"); 2];
        let headers = forwarded("10.0.0.1", &all(), &twice);
        assert_eq!(headers["x-forwarded-host"], "edge.example");
    }
}
