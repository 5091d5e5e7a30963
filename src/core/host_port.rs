//! A host with an optional port, as in `Host`, `:authority` and `Origin`.

use std::net::Ipv6Addr;

/// A host name or IP address, with the port if one was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The name in lower case, or the address; an IPv6 address stands in brackets.
    pub host: String,
    /// The port, which is never 0.
    pub port: Option<u16>,
}

impl HostPort {
    /// Parses `name`, `name:port`, `[address]` or `[address]:port`; returns `None` for
    /// anything else. An empty port, as in `name:`, is none (RFC 3986 §3.2.3).
    ///
    /// Stricter than RFC 3986 §3.2: no user information, no percent sign, no empty label,
    /// so that no upstream reads another host. One trailing dot, which marks a fully
    /// qualified name, is removed.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        // One IPv6 address can be written in many ways; they must compare as equal.
        let address = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .and_then(|host| host.parse::<Ipv6Addr>().ok());
        let host = match address {
            Some(address) => format!("[{address}]"),
            None => host.to_ascii_lowercase(),
        };
        Some(Self { host, port })
    }

    /// Returns whether [`parse`](Self::parse) accepts `text`, without allocating.
    pub fn is_valid(text: &str) -> bool {
        split_port(text).is_some()
    }

    /// Returns the port in a text that [`parse`](Self::parse) accepts, without parsing the
    /// host.
    pub(crate) fn port_of(text: &str) -> Option<u16> {
        // In an IPv6 address without a port the closing bracket makes this no number.
        let colon = text.bytes().rposition(|byte| byte == b':')?;
        parse_port(&text[colon + 1..])
    }
}

/// Checks host and port, and returns them as they are written, without a trailing dot.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            let end = text.len() - port.len();
            let port = if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':')?)
            };
            (&text[..end], port)
        }
        None => match text.bytes().position(|byte| byte == b':') {
            Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
            None => (text, None),
        },
    };
    let is_address = host.starts_with('[');
    let host = host.strip_suffix('.').unwrap_or(host);
    if !(is_address || is_host_name(host)) {
        return None;
    }
    let port = match port {
        Some("") | None => None,
        Some(port) => Some(parse_port(port)?),
    };
    Some((host, port))
}

/// Returns whether `host` consists of non-empty labels separated by single dots.
fn is_host_name(host: &str) -> bool {
    let mut before = b'.';
    let is_allowed = |byte: u8| {
        let is_allowed = match byte {
            b'.' => before != b'.',
            b'-' | b'_' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        before = byte;
        is_allowed
    };
    host.bytes().all(is_allowed) && before != b'.'
}

/// Returns a valid host without the colon of an empty port, which not every application
/// accepts (RFC 3986 §6.2.3).
pub(crate) fn without_empty_port(host: &str) -> &str {
    host.strip_suffix(':').unwrap_or(host)
}

/// The host of a request in HTTP/1.0 that names none, as health checks of load balancers do.
pub(crate) const DEFAULT_HOST: &str = "localhost";

/// Parses a port: digits only, from 1 to 65535.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    // `u16::from_str` would accept a leading `+`.
    let is_number = text.as_bytes().first()?.is_ascii_digit();
    text.parse().ok().filter(|port| is_number && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_with_optional_port_is_parsed_and_normalized() {
        let parsed = |text| HostPort::parse(text).map(|read| (read.host, read.port));
        assert_eq!(
            parsed("Desk.Example"),
            Some(("desk.example".to_owned(), None))
        );
        assert_eq!(parsed("desk:8443"), Some(("desk".to_owned(), Some(8443))));
        assert_eq!(parsed("[::1]:80"), Some(("[::1]".to_owned(), Some(80))));
        assert_eq!(
            parsed("desk.example."),
            Some(("desk.example".to_owned(), None))
        );
        assert_eq!(parsed("[::1]"), Some(("[::1]".to_owned(), None)));
        assert_eq!(parsed("desk:"), parsed("desk"));
        assert_eq!(parsed("[::1]:"), parsed("[::1]"));
        assert_eq!(parsed("[0:0::0:1]"), Some(("[::1]".to_owned(), None)));
        assert_eq!(parsed("[2001:DB8::A]"), parsed("[2001:db8:0::a]"));
    }

    #[test]
    fn malformed_host_is_rejected() {
        for wrong in [
            "", ":", ":80", ".", "a..b", ".a", "a..", "[::1].", "a b", "a@b", "a/b", "a::", "a:0",
            "a:+1", "a:99999", "a:1:2", "[::1", "[a]", "]", "a]", "a[b:80", "[::1]80", "a%20b",
            "a,b", "é", "a\0",
        ] {
            assert_eq!(HostPort::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn port_of_a_valid_host_equals_the_parsed_port() {
        for text in [
            "desk",
            "desk:8443",
            "a.b.:80",
            "[::1]",
            "[::1]:80",
            "[1::80]",
            "desk:",
            "[::1]:",
        ] {
            let read = HostPort::parse(text).unwrap();
            assert_eq!(HostPort::port_of(text), read.port, "{text:?}");
        }
    }
}
