//! The opening handshake (RFC 6455 §4.2): checks the client's request and its origin, and
//! finds its token.

use hyper::body::Body;
use hyper::header::{
    HOST, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Uri, Version};
use percent_encoding::percent_decode_str;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::settings::Settings;
use crate::auth::Token;
use crate::core::header_values::{has_element, list_elements, single_text, wants_upgrade};
use crate::core::origin::PageOrigin;

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
    /// The edge is stopping.
    #[error("the service restarts; try again")]
    Stopping,
}

/// The content of a valid handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) accept_key: String,
    pub(super) token: Option<Token>,
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

/// Checks the handshake of `request` and returns its content.
///
/// # Errors
/// `Malformed`, `Version` or `Origin`.
pub(super) fn read<B: Body>(
    request: &Request<B>,
    settings: &Settings,
) -> Result<Handshake, HandshakeRejection> {
    let challenge = Challenge::read(request)?;
    let headers = request.headers();
    let host = headers
        .get(HOST)
        .ok_or(HandshakeRejection::Malformed("Host is missing"))?;
    check_origin(headers, host, settings)?;
    let (token, subprotocol) = find_token(request.uri(), headers);
    Ok(Handshake {
        accept_key: challenge.accept,
        token,
        subprotocol,
        // A copy: the original keeps the buffer of the whole request head in memory.
        host: HeaderValue::from_bytes(host.as_bytes()).expect("copied from a header value"),
    })
}

/// Checks that the page is the site's own or of a listed origin. A request without an origin
/// is not from a page. It is allowed, because the credential is explicit, and never a cookie
/// that the browser adds by itself.
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

/// Returns the token in `?token=`, else in `Authorization`, else in the subprotocols
/// `bearer, <token>`; and whether `bearer` was offered. Browsers fail the connection unless
/// the response confirms an offered subprotocol.
fn find_token(uri: &Uri, headers: &HeaderMap) -> (Option<Token>, bool) {
    let mut offers = list_elements(headers, &SEC_WEBSOCKET_PROTOCOL);
    let is_bearer = offers
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case("bearer"));
    let token = token_in_query(uri.query().unwrap_or_default())
        .or_else(|| Token::from_headers(headers))
        .or_else(|| offers.next().filter(|_| is_bearer).and_then(Token::new));
    (token, is_bearer)
}

/// Returns the first `token` of a query, percent-decoded; none if it is empty.
fn token_in_query(query: &str) -> Option<Token> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))?;
    Token::new(&percent_decode_str(value).decode_utf8().ok()?)
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

    fn token(query: &str) -> Option<Token> {
        token_in_query(query)
    }

    #[test]
    fn first_token_of_the_query_is_used() {
        assert_eq!(token("token=13%7Cabc"), Token::new("13|abc"));
        assert_eq!(token("token=13|abc"), Token::new("13|abc"));
        assert_eq!(token("a=b&token=1&token=2"), Token::new("1"));
        for none in [
            "",
            "token=",
            "token",
            "token[]=x",
            "xtoken=1",
            "token=%ff",
            "token=a%0ab",
        ] {
            assert_eq!(token(none), None, "{none}");
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
        assert_eq!(find_token(&uri, &headers), (Token::new("2|b"), true));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer 1|a"));
        assert_eq!(find_token(&uri, &headers), (Token::new("1|a"), true));
        let mut headers = HeaderMap::new();
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer "));
        headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("3|c"));
        assert_eq!(find_token(&uri, &headers), (Token::new("3|c"), true));
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
