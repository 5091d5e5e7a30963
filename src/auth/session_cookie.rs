//! The cookies of a browser's Laravel session, as a credential. They are never logged.

use std::fmt;

use hyper::Method;
use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use percent_encoding::percent_decode;
use serde::Deserialize;

use super::CredentialHash;
use crate::core::header_values::single_value;

/// The session cookies of a browser, and what Laravel requires beside them. Its `Debug` output
/// contains none of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionCookie {
    /// The pairs with the configured names, for `Cookie`.
    pairs: HeaderValue,
    /// The origin of the page, by which Sanctum recognizes the site's own front end.
    origin: HeaderValue,
    /// The value of `X-XSRF-TOKEN`, without which Laravel rejects a `POST`.
    csrf_token: Option<HeaderValue>,
}

impl SessionCookie {
    /// Returns the cookies of a request that have one of `names`, sent by a page of `origin`.
    /// None if there is none, or if they are longer than [`MAX_COOKIE_BYTES`].
    ///
    /// Of two with one name PHP reads the first. The others, and the order of the names, must
    /// not make another credential of one session.
    pub(crate) fn from_headers(
        headers: &HeaderMap,
        names: &[CookieName],
        origin: &HeaderValue,
    ) -> Option<Self> {
        let cookies = single_value(headers, &COOKIE)?.as_bytes();
        let mut named = Vec::new();
        for name in names.iter().map(|name| name.0.as_bytes()) {
            let first = pairs(cookies).find(|pair| pair.0 == name);
            if let Some((_, value)) = first.filter(|pair| !pair.1.is_empty()) {
                let separator: &[u8] = if named.is_empty() { b"" } else { b"; " };
                named.extend([separator, name, b"=", value].concat());
            }
        }
        if named.is_empty() || named.len() > MAX_COOKIE_BYTES {
            return None;
        }
        let mut csrf_tokens = pairs(cookies).filter(|(name, _)| *name == CSRF_COOKIE);
        Some(Self {
            pairs: sensitive(&named)?,
            // A copy: the original keeps the buffer of the whole request head in memory.
            origin: HeaderValue::from_bytes(origin.as_bytes()).ok()?,
            csrf_token: csrf_tokens.next().and_then(|(_, value)| {
                let decoded = percent_decode(value).collect::<Vec<_>>();
                sensitive(&decoded).filter(|token| token.len() <= MAX_COOKIE_BYTES)
            }),
        })
    }

    /// Returns the hash of the cookies and the origin: Laravel may accept them from one origin
    /// and reject them from another.
    pub(super) fn hash(&self) -> CredentialHash {
        // No header value contains a line feed.
        let parts = [self.pairs.as_bytes(), b"\n", self.origin.as_bytes()];
        CredentialHash::of_cookies(&parts.concat())
    }

    /// Adds to `headers` those by which Laravel authenticates a request with `method`.
    pub(super) fn write_headers(&self, method: &Method, headers: &mut HeaderMap) {
        headers.insert(COOKIE, self.pairs.clone());
        headers.insert(ORIGIN, self.origin.clone());
        // Laravel takes the URL of any other GET for the user's last page, to which it
        // redirects after an invalid form.
        headers.insert(X_REQUESTED_WITH, HeaderValue::from_static("XMLHttpRequest"));
        if let Some(token) = self.csrf_token.as_ref().filter(|_| !method.is_safe()) {
            headers.insert(X_XSRF_TOKEN, token.clone());
        }
    }
}

impl fmt::Debug for SessionCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionCookie")
    }
}

/// The name of a cookie (RFC 6265 §4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CookieName(String);

impl TryFrom<String> for CookieName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.as_bytes() == CSRF_COOKIE {
            return Err(format!(
                "{text} is the CSRF token, which every visitor has; name the session cookie alone"
            ));
        }
        if is_remember_cookie(&text) {
            return Err(format!(
                "{text} logs the user in again with each request; name the session cookie alone"
            ));
        }
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if !text.is_empty() && text.bytes().all(is_token) {
            Ok(Self(text))
        } else {
            Err(format!(
                r#"{text:?} is not the name of a cookie; expected one such as "laravel_session""#
            ))
        }
    }
}

/// Returns whether Laravel names so the cookie of "remember me": `remember_`, the guard and a
/// SHA-1 hash.
fn is_remember_cookie(name: &str) -> bool {
    let suffix = name
        .strip_prefix("remember_")
        .and_then(|rest| rest.rsplit_once('_'));
    suffix.is_some_and(|(_, hash)| {
        hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Returns the names and values of a `Cookie` field (RFC 6265 §4.2.1), as PHP splits it.
fn pairs(cookies: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    cookies.split(|byte| *byte == b';').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    })
}

/// Returns a header value that no library prints; none if `bytes` cannot be one.
fn sensitive(bytes: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(bytes).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The maximum length of the session cookies. Browsers send at most 4096 bytes for one.
const MAX_COOKIE_BYTES: usize = 8192;
/// The cookie with Laravel's CSRF token.
const CSRF_COOKIE: &[u8] = b"XSRF-TOKEN";
const X_XSRF_TOKEN: HeaderName = HeaderName::from_static("x-xsrf-token");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cookies: &'static str) -> Option<SessionCookie> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static(cookies));
        let names = ["desk_session", "second"].map(|name| CookieName(name.to_owned()));
        let origin = HeaderValue::from_static("https://desk.example");
        SessionCookie::from_headers(&headers, &names, &origin)
    }

    fn written(cookies: &'static str, method: &Method) -> HeaderMap {
        let mut headers = HeaderMap::new();
        read(cookies).unwrap().write_headers(method, &mut headers);
        headers
    }

    #[test]
    fn first_cookie_of_each_name_alone_is_sent() {
        for (cookies, sent) in [
            ("desk_session=a%3D", "desk_session=a%3D"),
            ("x=1; desk_session=a=b ;y", "desk_session=a=b"),
            ("second=2;x=1; desk_session=a", "desk_session=a; second=2"),
            ("desk_session=a; desk_session=b", "desk_session=a"),
            (
                "desk_session=a; second=2; desk_session=",
                "desk_session=a; second=2",
            ),
            ("desk_session=; second=2; desk_session=a", "second=2"),
        ] {
            assert_eq!(written(cookies, &Method::GET)[COOKIE], sent, "{cookies}");
        }
        for none in [
            "",
            "desk_session",
            "desk_session=",
            "desk_session=; desk_session=a",
            "Desk_session=a",
            "xdesk_session=a",
            "desk_session2=a",
            "XSRF-TOKEN=a",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn cookies_that_are_too_long_are_no_credential() {
        let of_length = |length| {
            let mut headers = HeaderMap::new();
            let cookies = format!("s={}", "x".repeat(length - 2));
            headers.insert(COOKIE, HeaderValue::try_from(cookies).unwrap());
            let names = [CookieName("s".to_owned())];
            SessionCookie::from_headers(&headers, &names, &HeaderValue::from_static("null"))
        };
        assert!(of_length(MAX_COOKIE_BYTES).is_some());
        assert_eq!(of_length(MAX_COOKIE_BYTES + 1), None);
    }

    #[test]
    fn csrf_token_is_decoded_and_sent_with_a_post_alone() {
        let cookies = "XSRF-TOKEN=ey%3D%3D; desk_session=a";
        let get = written(cookies, &Method::GET);
        assert_eq!(get[X_REQUESTED_WITH], "XMLHttpRequest");
        assert_eq!(get[ORIGIN], "https://desk.example");
        assert_eq!(get.len(), 3, "{get:?}");
        let post = written(cookies, &Method::POST);
        assert_eq!(post[X_XSRF_TOKEN], "ey==");
        // A line break would end the header.
        let broken = written("XSRF-TOKEN=a%0d%0ab; desk_session=a", &Method::POST);
        assert!(!broken.contains_key(X_XSRF_TOKEN));
    }

    #[test]
    fn nothing_of_a_cookie_is_printed() {
        let cookie = read("desk_session=hunter2; XSRF-TOKEN=hunter2").unwrap();
        assert_eq!(
            format!("{cookie:?} {:?}", cookie.hash()),
            "SessionCookie CredentialHash"
        );
        let headers = written("desk_session=hunter2; XSRF-TOKEN=hunter2", &Method::POST);
        assert!(!format!("{headers:?}").contains("hunter2"), "{headers:?}");
    }

    #[test]
    fn name_of_no_cookie_or_of_another_than_a_session_cookie_is_rejected() {
        for name in ["laravel_session", "my-desk-session", "__Host-s.1"] {
            assert!(CookieName::try_from(name.to_owned()).is_ok(), "{name}");
        }
        for other in ["xsrf-token", "remember_session", "remember_web_1"] {
            assert!(CookieName::try_from(other.to_owned()).is_ok(), "{other}");
        }
        let remember = "remember_web_59ba36addc2b2f9401580f014c7f58ea4e30989d";
        for wrong in [
            "",
            "a b",
            "a=b",
            "a;b",
            "a,b",
            "sítio",
            "XSRF-TOKEN",
            remember,
        ] {
            assert!(CookieName::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
