//! Origins: scheme, host and port of a site (RFC 6454).

use std::fmt;

use serde::Deserialize;

use super::host_port::HostPort;

/// An origin such as `https://desk.example` or `http://localhost:3000`. Origins are equal if
/// scheme, host and port are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Origin {
    scheme: Scheme,
    /// The host in lower case, and the port unless it is the scheme's default.
    authority: HostPort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Origin {
    /// Parses the text of an origin, as in an `Origin` header; `None` if it is no origin.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (scheme, default_port) = if scheme.eq_ignore_ascii_case("https") {
            (Scheme::Https, 443)
        } else if scheme.eq_ignore_ascii_case("http") {
            (Scheme::Http, 80)
        } else {
            return None;
        };
        let mut authority = HostPort::parse(authority)?;
        authority.port.take_if(|port| *port == default_port);
        Some(Self { scheme, authority })
    }

    /// Returns whether this is the origin of the site named `host`: HTTPS with that name, on
    /// any port. The old front end connects to another port than that of its page.
    pub(crate) fn is_site(&self, host: &str) -> bool {
        let site = HostPort::parse(host);
        self.scheme == Scheme::Https && site.is_some_and(|site| site.host == self.authority.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority.host)?;
        self.authority
            .port
            .map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| {
            format!(r#"{text:?} is not an origin; expected one such as "https://desk.example""#)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_of_the_site_is_https_under_its_host() {
        let site = |origin: &str| Origin::parse(origin).unwrap().is_site("Desk.example:8080");
        assert!(site("https://desk.example") && site("https://desk.example:8080"));
        assert!(!site("http://desk.example") && !site("https://desk.example.evil"));
        assert!(!Origin::parse("https://desk.example").unwrap().is_site(""));
    }

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let same = |a, b| Origin::parse(a).unwrap() == Origin::parse(b).unwrap();
        assert!(same("https://Desk.example", "https://desk.example:443"));
        assert!(!same("https://desk.example", "http://desk.example"));
        assert!(!same("https://desk.example", "https://desk.example:8443"));
        assert!(!same("https://desk.example", "https://desk.example.evil"));
        for wrong in [
            "null",
            "",
            "desk.example",
            "https://",
            "https://a@b",
            "file://x",
            "https://h:99999",
        ] {
            assert_eq!(Origin::parse(wrong), None, "{wrong}");
        }
    }
}
