//! The opening handshake (RFC 6455 §4.2): what a client must send, and where
//! its token may be.

use hyper::body::Body;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Uri, Version};
use percent_encoding::percent_decode_str;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::settings::{Origin, Settings};
use crate::auth::Token;

/// Why an upgrade is not answered with 101. `Display` is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeRejection {
    /// Not a well-formed opening handshake.
    #[error("not a WebSocket handshake: {0}")]
    Malformed(&'static str),
    /// Another version than 13.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    Version,
    /// A page of another site asks.
    #[error("pages of this origin may not connect")]
    Origin,
    /// The edge is about to stop.
    #[error("the service restarts; try again")]
    Stopping,
}

/// What an accepted handshake says.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) accept_key: String,
    pub(super) token: Option<Token>,
    /// Whether `bearer` was offered as a subprotocol, which must then be answered.
    pub(super) subprotocol: bool,
    pub(super) host: HeaderValue,
}

/// Whether `request` wants to become a WebSocket at all.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket") && has_token(headers, &CONNECTION, "upgrade")
}

/// What a client proves by that the other end speaks WebSocket (RFC 6455 §1.3).
#[derive(Debug)]
pub struct Challenge {
    /// `Sec-WebSocket-Key`.
    pub key: HeaderValue,
    /// The one `Sec-WebSocket-Accept` that is right for it.
    pub accept: String,
}

impl Challenge {
    /// Reads that of `request`, which wants to become a WebSocket (RFC 6455 §4.2.1).
    ///
    /// # Errors
    /// `Malformed` or `Version`: it is no opening handshake.
    pub fn read<B: Body>(request: &Request<B>) -> Result<Self, HandshakeRejection> {
        if request.method() != Method::GET || request.version() != Version::HTTP_11 {
            return Err(HandshakeRejection::Malformed("expected GET over HTTP/1.1"));
        }
        // Its bytes could be taken for those of the WebSocket behind it.
        if !request.body().is_end_stream() {
            return Err(HandshakeRejection::Malformed("it has a body"));
        }
        let headers = request.headers();
        if single_value(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(HandshakeRejection::Version);
        }
        let key = single_value(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
        let key = key.ok_or(HandshakeRejection::Malformed(
            "Sec-WebSocket-Key is missing or wrong",
        ))?;
        Ok(Self {
            key: HeaderValue::from_str(key).expect("base64 is visible ASCII"),
            accept: derive_accept_key(key.as_bytes()),
        })
    }
}

/// Reads a handshake.
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
        // A copy: its own bytes are part of all that was read of the request.
        host: HeaderValue::from_bytes(host.as_bytes()).expect("it was one before"),
    })
}

/// A page may connect from the site itself or from a listed origin. No origin
/// at all is no page: allowed, because the credential is explicit and never a
/// cookie that the browser adds by itself.
fn check_origin(
    headers: &HeaderMap,
    host: &HeaderValue,
    settings: &Settings,
) -> Result<(), HandshakeRejection> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let origin = single_value(headers, &ORIGIN).and_then(Origin::parse);
    let origin = origin.ok_or(HandshakeRejection::Origin)?;
    let own = host.to_str().is_ok_and(|host| origin.is_site(host));
    let allowed = own || settings.allowed_origins.contains(&origin);
    allowed.then_some(()).ok_or(HandshakeRejection::Origin)
}

/// The token in `?token=`, else in `Authorization`, else in the subprotocol
/// `bearer, <token>`; and whether `bearer` was offered, which browsers want
/// answered in any case.
fn find_token(uri: &Uri, headers: &HeaderMap) -> (Option<Token>, bool) {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offers = offers.filter_map(|value| value.to_str().ok());
    let mut offers = offers.flat_map(|value| value.split(',')).map(str::trim);
    let bearer = offers
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case("bearer"));
    let token = token_in_query(uri.query().unwrap_or_default())
        .or_else(|| Token::from_headers(headers))
        .or_else(|| offers.next().filter(|_| bearer).and_then(Token::new));
    (token, bearer)
}

/// The first `token` of a query, percent-decoded; an empty one is none.
fn token_in_query(query: &str) -> Option<Token> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))?;
    Token::new(&percent_decode_str(value).decode_utf8().ok()?)
}

/// 16 bytes in base64 (RFC 6455 §4.2.1): 22 digits and `==`.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default();
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    digits.len() == 22 && digits.bytes().all(is_digit)
}

/// The value of a header that may be there once.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    match values.next() {
        None => value.to_str().ok(),
        Some(_) => None,
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use hyper::header::AUTHORIZATION;

    use super::*;

    fn token(query: &str) -> Option<Token> {
        token_in_query(query)
    }

    #[test]
    fn the_first_token_of_the_query_counts() {
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
    fn headers_can_carry_the_token_too() {
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
    fn keys_are_sixteen_bytes_in_base64() {
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
