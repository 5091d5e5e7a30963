//! The opening handshake (RFC 6455 §4.2): checks the client's request and its origin, and
//! finds its credential and the position from which it resumes.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::body::Body;
use hyper::header::{
    HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Uri, Version};
use percent_encoding::percent_decode_str;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::settings::Settings;
use crate::auth::{CookieName, Credential, SessionCookie, Token, bearer_token};
use crate::core::header_values::{
    has_element, list_elements, single_text, single_value, wants_upgrade,
};
use crate::core::origin::{Origin, PageOrigin};
use crate::rooms::Since;

/// The reason why an upgrade is rejected. `Display` is the text for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeRejection {
    /// The request is no well-formed opening handshake.
    #[error("not a WebSocket handshake: {0}")]
    Malformed(&'static str),
    /// The WebSocket version is not 13.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    Version,
    /// The request comes from a page of another site.
    #[error("pages of this origin may not connect")]
    Origin,
    /// The request has a session cookie and no token, and comes from no page that may use the
    /// cookie.
    #[error(
        "without a token, only pages of this site and of the origins that it lists may connect"
    )]
    CookieOrigin,
    /// The edge is stopping.
    #[error("the service restarts; try again")]
    Stopping,
}

/// The content of a valid handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) accept_key: String,
    pub(super) credential: Option<Credential>,
    /// The client's last position in the user's own channel, if it returns.
    pub(super) since: Option<Since>,
    /// Whether the client offered the subprotocol `bearer`, which the response must confirm.
    pub(super) subprotocol: bool,
    pub(super) host: HeaderValue,
}

/// Returns whether the request asks for an upgrade to WebSocket.
pub(super) fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    has_element(headers, &UPGRADE, "websocket") && wants_upgrade(headers)
}

/// The challenge by which the server proves that it speaks WebSocket (RFC 6455 §1.3).
#[derive(Debug)]
pub(crate) struct Challenge {
    /// The request's `Sec-WebSocket-Key`.
    pub(crate) key: HeaderValue,
    /// The `Sec-WebSocket-Accept` that follows from the key.
    pub(crate) accept: String,
}

impl Challenge {
    /// Checks an upgrade request and returns its challenge (RFC 6455 §4.2.1).
    ///
    /// # Errors
    /// `Malformed` or `Version` if it is no valid opening handshake.
    pub(crate) fn read<B: Body>(request: &Request<B>) -> Result<Self, HandshakeRejection> {
        if request.method() != Method::GET || request.version() != Version::HTTP_11 {
            return Err(HandshakeRejection::Malformed("expected GET over HTTP/1.1"));
        }
        // The bytes of a body could be taken for frames of the WebSocket.
        if !request.body().is_end_stream() {
            return Err(HandshakeRejection::Malformed("it has a body"));
        }
        let headers = request.headers();
        if single_text(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(HandshakeRejection::Version);
        }
        let key = single_text(headers, &SEC_WEBSOCKET_KEY)
            .filter(|key| is_key(key))
            .ok_or(HandshakeRejection::Malformed(
                "Sec-WebSocket-Key is missing or wrong",
            ))?;
        Ok(Self {
            key: HeaderValue::from_str(key).expect("base64 is visible ASCII"),
            accept: derive_accept_key(key.as_bytes()),
        })
    }
}

/// Checks the handshake of `request` and returns its content. Without a token, the cookies
/// named in `session_cookies` are its credential.
///
/// # Errors
/// `Malformed`, `Version`, `Origin` or `CookieOrigin`.
pub(super) fn read<B: Body>(
    request: &Request<B>,
    settings: &Settings,
    session_cookies: &[CookieName],
) -> Result<Handshake, HandshakeRejection> {
    let challenge = Challenge::read(request)?;
    let headers = request.headers();
    let host = headers
        .get(HOST)
        .ok_or(HandshakeRejection::Malformed("Host is missing"))?;
    check_origin(headers, host, settings)?;
    let (token, subprotocol) = find_token(request.uri(), headers);
    let credential = match token {
        OfferedToken::Valid(token) => Some(Credential::Token(token)),
        OfferedToken::Malformed => None,
        OfferedToken::None => find_cookie(headers, host, settings, session_cookies)?,
    };
    Ok(Handshake {
        accept_key: challenge.accept,
        credential,
        since: since_in_query(request.uri().query().unwrap_or_default()),
        subprotocol,
        // A copy: the original keeps the buffer of the whole request head in memory.
        host: HeaderValue::from_bytes(host.as_bytes()).expect("copied from a header value"),
    })
}

/// Checks that the page is the site's own or of a listed origin. A request without an origin
/// is not from a page. It is allowed, because a token is explicit: no browser adds it by
/// itself, as it does with a cookie.
fn check_origin(
    headers: &HeaderMap,
    host: &HeaderValue,
    settings: &Settings,
) -> Result<(), HandshakeRejection> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let origin = single_text(headers, &ORIGIN)
        .and_then(PageOrigin::parse)
        .ok_or(HandshakeRejection::Origin)?;
    let is_site = host.to_str().is_ok_and(|host| origin.is_site(host));
    if is_site || settings.allowed_origins.contains(&origin) {
        Ok(())
    } else {
        Err(HandshakeRejection::Origin)
    }
}

/// Returns the session cookie of a request without a token.
///
/// A browser adds cookies to the handshake of any page, so the page's origin alone tells that
/// the user's own front end sent it (cross-site WebSocket hijacking). It must be the site's
/// own, with its port, or one of `websocket.allowed_origins` that is a secure site.
///
/// # Errors
/// `CookieOrigin` if there is a cookie, and no such origin.
fn find_cookie(
    headers: &HeaderMap,
    host: &HeaderValue,
    settings: &Settings,
    names: &[CookieName],
) -> Result<Option<Credential>, HandshakeRejection> {
    let missing = HeaderValue::from_static("");
    let value = single_value(headers, &ORIGIN).unwrap_or(&missing);
    let Some(cookie) = SessionCookie::from_headers(headers, names, value) else {
        return Ok(None);
    };
    if may_use_cookies(value, host, settings) {
        Ok(Some(Credential::Cookie(Arc::new(cookie))))
    } else {
        Err(HandshakeRejection::CookieOrigin)
    }
}

/// Returns whether pages of `origin` may use the session cookies of the site `host`.
pub(super) fn may_use_cookies(
    origin: &HeaderValue,
    host: &HeaderValue,
    settings: &Settings,
) -> bool {
    let origin = origin.to_str().ok().and_then(Origin::parse);
    origin.is_some_and(|origin| {
        let is_own = host.to_str().is_ok_and(|host| origin.is_same(host));
        let is_secure = origin.is_secure();
        is_own || is_secure && settings.allowed_origins.contains(&PageOrigin::Site(origin))
    })
}

/// The token that a client offers. Another credential takes the place of none, but not of a
/// malformed one: the client would be another user than it says.
#[derive(Debug, PartialEq, Eq)]
enum OfferedToken {
    None,
    Malformed,
    Valid(Token),
}

/// Returns the token in `?token=`, else in `Authorization`, else in the subprotocols
/// `bearer, <token>`; and whether `bearer` was offered. Browsers fail the connection unless
/// the response confirms an offered subprotocol.
fn find_token(uri: &Uri, headers: &HeaderMap) -> (OfferedToken, bool) {
    let mut offers = list_elements(headers, &SEC_WEBSOCKET_PROTOCOL);
    let is_bearer = offers
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case("bearer"));
    let in_query = token_in_query(uri.query().unwrap_or_default());
    let in_header = bearer_token(headers).map(Cow::Borrowed);
    let in_subprotocol = offers.next().filter(|_| is_bearer);
    let in_subprotocol = in_subprotocol.map(|token| Cow::Borrowed(token.as_bytes()));
    let mut offered = [in_query, in_header, in_subprotocol]
        .into_iter()
        .flatten()
        .filter(|token| !token.is_empty())
        .peekable();
    let token = if offered.peek().is_none() {
        OfferedToken::None
    } else {
        offered
            .find_map(|token| Token::from_bytes(&token))
            .map_or(OfferedToken::Malformed, OfferedToken::Valid)
    };
    (token, is_bearer)
}

/// Returns the first `token` of a query, percent-decoded.
fn token_in_query(query: &str) -> Option<Cow<'_, [u8]>> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))?;
    Some(percent_decode_str(value).into())
}

/// Returns the first `since` of a query; none if it is empty. A position has no character that must be encoded.
fn since_in_query(query: &str) -> Option<Since> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("since="))
        .filter(|value| !value.is_empty())?;
    Some(value.parse().map_or(Since::Invalid, Since::Position))
}

/// Returns whether `key` is 16 bytes in base64 (RFC 6455 §4.2.1): 22 digits and `==`.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    digits.len() == 22 && digits.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use hyper::header::AUTHORIZATION;

    use super::*;

    fn in_query(query: &str) -> OfferedToken {
        let uri = Uri::try_from(format!("/ws?{query}")).unwrap();
        find_token(&uri, &HeaderMap::new()).0
    }

    fn valid(token: &str) -> OfferedToken {
        OfferedToken::Valid(Token::new(token).unwrap())
    }

    #[test]
    fn first_token_of_the_query_is_used() {
        assert_eq!(in_query("token=13%7Cabc"), valid("13|abc"));
        assert_eq!(in_query("token=13|abc"), valid("13|abc"));
        assert_eq!(in_query("a=b&token=1&token=2"), valid("1"));
        for none in ["", "token=", "token", "token[]=x", "xtoken=1"] {
            assert_eq!(in_query(none), OfferedToken::None, "{none}");
        }
        for malformed in ["token=%ff", "token=a%0ab", "token=a,b"] {
            assert_eq!(in_query(malformed), OfferedToken::Malformed, "{malformed}");
        }
    }

    #[test]
    fn since_of_the_query_is_a_position_or_invalid() {
        let position = "kQzVbTfa.57".parse().ok().map(Since::Position);
        assert_eq!(since_in_query("token=1&since=kQzVbTfa.57"), position);
        assert_eq!(since_in_query("since=undefined"), Some(Since::Invalid));
        for none in ["", "since=", "since", "xsince=kQzVbTfa.57"] {
            assert_eq!(since_in_query(none), None, "{none}");
        }
    }

    #[test]
    fn token_in_a_header_is_found() {
        let mut headers = HeaderMap::new();
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("bearer, 2|b"),
        );
        let uri = Uri::from_static("/ws?token=");
        assert_eq!(find_token(&uri, &headers), (valid("2|b"), true));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer 1|a"));
        assert_eq!(find_token(&uri, &headers), (valid("1|a"), true));
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer "));
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("3|c"));
        assert_eq!(find_token(&uri, &headers), (valid("3|c"), true));
        // The password of a site that is not yet public.
        headers.clear();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
        assert_eq!(find_token(&uri, &headers), (OfferedToken::None, false));
    }

    #[test]
    fn websocket_key_that_is_not_16_bytes_is_rejected() {
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
        for wrong in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ= ",
            "dGhlIHNhbXBsZSBub25j!A==",
        ] {
            assert!(!is_key(wrong), "{wrong}");
        }
    }
}
