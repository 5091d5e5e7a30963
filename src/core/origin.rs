//! Origins: scheme, host and port of a site (RFC 6454).

use std::fmt;

use serde::Deserialize;

use super::host_port::HostPort;

/// An origin such as `https://desk.example` or `http://localhost:3000`. Origins are equal if
/// scheme, host and port are.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// Returns whether this is the origin of `host`, a value of `Host`, over HTTPS: with the
    /// same name and the same port.
    pub(crate) fn is_same(&self, host: &str) -> bool {
        Self::parse(&format!("https://{host}")).is_some_and(|site| site == *self)
    }

    /// Returns whether nobody on the network can forge a page of this origin: it uses HTTPS or
    /// is on the user's own machine.
    pub(crate) fn is_secure(&self) -> bool {
        let host = &*self.authority.host;
        self.scheme == Scheme::Https || ["localhost", "127.0.0.1", "[::1]"].contains(&host)
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

/// The origin of a page, as a browser or the web view of an app sends it in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum PageOrigin {
    /// A web site.
    Site(Origin),
    /// An app, a browser extension or a local file, such as `capacitor://localhost` or
    /// `file://`, or an opaque origin (`null`). In lower case.
    App(String),
}

impl PageOrigin {
    /// Parses the text of an `Origin` header; `None` if it is no origin.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Origin::parse(text).map(Self::Site).or_else(|| {
            let text = text.to_ascii_lowercase();
            (text == "null" || is_app_origin(&text)).then_some(Self::App(text))
        })
    }

    /// Returns whether the page is of the site named `host`; see [`Origin::is_site`].
    pub(crate) fn is_site(&self, host: &str) -> bool {
        matches!(self, Self::Site(origin) if origin.is_site(host))
    }
}

impl TryFrom<String> for PageOrigin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| {
            format!(
                r#"{text:?} is not an origin; expected scheme and host alone, such as "https://desk.example" or "capacitor://localhost""#
            )
        })
    }
}

/// Returns whether `text`, in lower case, is a scheme of an app and a host (RFC 6454 §6.2).
/// Only local files have no host.
fn is_app_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    // A WebSocket's own URL is never an origin, and neither is a malformed one of a site.
    let is_app = !["http", "https", "ws", "wss"].contains(&scheme);
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    is_app && is_scheme && (is_host || text == "file://")
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
    fn same_origin_has_the_host_and_port_of_the_request() {
        let same = |origin: &str, host| Origin::parse(origin).unwrap().is_same(host);
        assert!(same("https://desk.example", "Desk.example"));
        assert!(same("https://desk.example", "desk.example:443"));
        assert!(same("https://desk.example:8443", "desk.example:8443"));
        assert!(!same("https://desk.example:8443", "desk.example"));
        assert!(!same("https://desk.example", "desk.example:8443"));
        assert!(!same("http://desk.example", "desk.example"));
        assert!(!same("https://desk.example.evil", "desk.example"));
    }

    #[test]
    fn page_that_can_be_forged_is_not_secure() {
        let is_secure = |origin| Origin::parse(origin).unwrap().is_secure();
        assert!(is_secure("https://desk.example") && is_secure("http://localhost:5173"));
        assert!(is_secure("http://127.0.0.1:8000") && is_secure("http://[::1]"));
        assert!(!is_secure("http://desk.example") && !is_secure("http://localhost.evil"));
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

    #[test]
    fn origin_of_an_app_is_compared_as_text_without_case() {
        for app in [
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://-",
            "app://obsidian.md",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0b9c0f3e-1d2c-4b1a-9f00-0123456789ab",
            "file://",
            "null",
        ] {
            let origin = PageOrigin::parse(app).unwrap();
            assert_eq!(origin, PageOrigin::App(app.to_owned()));
            assert_eq!(PageOrigin::parse(&app.to_ascii_uppercase()), Some(origin));
        }
        let site = PageOrigin::parse("https://Desk.example:443");
        assert_eq!(site, PageOrigin::parse("https://desk.example"));
        assert!(site.unwrap().is_site("desk.example"));
        let app = PageOrigin::parse("capacitor://desk.example").unwrap();
        assert!(!app.is_site("desk.example"));
    }

    #[test]
    fn text_that_is_no_origin_is_rejected() {
        for wrong in [
            "",
            "*",
            "desk.example",
            "capacitor://",
            "capacitor://localhost/",
            "capacitor:localhost",
            "app://a b",
            "app://u@a",
            "app://*",
            "file:///",
            "://a",
            "1app://a",
            "wss://desk.example",
            "https://desk.example/",
            "https://*.desk.example",
            "http://",
        ] {
            assert_eq!(PageOrigin::parse(wrong), None, "{wrong}");
        }
    }
}
