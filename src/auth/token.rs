//! A client's Sanctum token. It is never logged.

use std::fmt;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::CredentialHash;
use crate::core::header_values::single_value;

/// A bearer token as the client sent it. Its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Box<str>);

impl Token {
    /// Creates a token from `text` if it can be one: 1 to 1024 visible ASCII characters
    /// without a comma. Laravel ends a token at a comma, so `13|s,x` would be one token to it
    /// and another to the edge.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 1024;
        let is_allowed = |b: u8| b.is_ascii_graphic() && b != b',';
        (fits && text.bytes().all(is_allowed)).then(|| Self(text.into()))
    }

    /// Creates a token from `bytes` if they are the text of one; see [`Token::new`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(bytes).ok()?)
    }

    /// Returns the hash of the token's secret, the key of its sessions, uploads and cached
    /// decisions. The `id|` before the secret is left out: Laravel accepts a token with and
    /// without it, and with several spellings of one id.
    pub(crate) fn hash(&self) -> CredentialHash {
        CredentialHash::of_token(self.without_id().as_bytes())
    }

    /// Returns the hash of the token in `Authorization`, with any bytes before its `|`: a
    /// database may read `13é` as 13.
    pub(crate) fn hash_from_headers(headers: &HeaderMap) -> Option<CredentialHash> {
        let token = bearer_token(headers)?;
        let id = token.iter().position(|byte| *byte == b'|');
        let secret = id.map_or(token, |id| &token[id + 1..]);
        Some(CredentialHash::of_token(secret))
    }

    /// Returns the secret: the part after the first `|`, or all if there is none.
    fn without_id(&self) -> &str {
        self.0
            .split_once('|')
            .map_or(&*self.0, |(_, secret)| secret)
    }

    /// Returns the value of `Authorization`. It begins with `Bearer`, as Laravel before
    /// version 10 compares the scheme with case.
    ///
    /// [`TokenForm::Secret`] leaves the id out. If the secret contains another `|`, the whole
    /// token is sent nevertheless: Sanctum would take the beginning of the secret for an id.
    pub(super) fn authorization(&self, form: TokenForm) -> HeaderValue {
        let secret = self.without_id();
        let text = if form == TokenForm::Full || secret.contains('|') || secret.is_empty() {
            &*self.0
        } else {
            secret
        };
        let mut value =
            HeaderValue::try_from(format!("Bearer {text}")).expect("a token is visible ASCII");
        value.set_sensitive(true);
        value
    }
}

/// Returns the bytes in `Authorization` that Laravel's `Request::bearerToken()` takes for the
/// token: those after the last `Bearer `, up to a comma. The scheme is compared without case,
/// as RFC 9110 §11.1 says and Laravel does from version 10 on.
///
/// None if there is no such header, or several: servers differ in how they read those.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let value = single_value(headers, &AUTHORIZATION)?.as_bytes();
    let mut schemes = value.windows(SCHEME.len());
    let start = schemes.rposition(|bytes| bytes.eq_ignore_ascii_case(SCHEME))? + SCHEME.len();
    let token = value[start..].split(|byte| *byte == b',').next()?;
    Some(token.trim_ascii())
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The part of a token that the edge's own requests to Laravel carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenForm {
    /// The part after `id|`, which Sanctum finds by its hash. Such a request does not look like
    /// an attack to an application that scans headers for `|`.
    Secret,
    /// The whole token, for applications whose token model needs the id.
    Full,
}

/// The authentication scheme, in lower case.
const SCHEME: &[u8] = b"bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Option<Token> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer_token(&headers).and_then(Token::from_bytes)
    }

    #[test]
    fn authorization_header_is_parsed_as_in_laravel() {
        let token = Token::new("13|s");
        for value in [
            "Bearer 13|s",
            "bearer 13|s",
            "Bearer  13|s",
            "Bearer 13|s,x",
            "Bearer 13|s, Basic x",
            "Basic x, Bearer 13|s",
            "Bearer 14|t Bearer 13|s",
        ] {
            assert_eq!(read(&[value]), token, "{value}");
        }
        let secret = token.map(|token| token.hash());
        for value in [
            &b"\xe9 Bearer 13|s"[..],
            b"Bearer 13|s,\xe9",
            b"Bearer 13\xe9|s",
            b"Bearer \xff|s",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            assert_eq!(Token::hash_from_headers(&headers), secret, "{value:?}");
        }
        for values in [
            &[][..],
            &["Bearer "],
            &["Basic 13|s"],
            &["Bearer ,13|s"],
            &["Bearer 13|s", "Bearer 13|s"],
        ] {
            assert_eq!(read(values), None, "{values:?}");
        }
    }

    #[test]
    fn token_with_a_comma_is_rejected() {
        assert_eq!(Token::new("13|s,x"), None);
        assert_eq!(Token::new(","), None);
    }

    #[test]
    fn spellings_of_one_token_have_one_key() {
        let key = |text: &str| Token::new(text).map(|token| token.hash());
        assert_eq!(key("13|s"), key("s"));
        assert_eq!(key("13|s"), key("013|s"));
        assert_ne!(key("13|s"), key("13|t"));
    }

    #[test]
    fn authorization_sends_the_secret_alone_unless_form_is_full() {
        let sent = |text: &str, form| {
            let value = Token::new(text).unwrap().authorization(form);
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(sent("13|s", TokenForm::Secret), "Bearer s");
        assert_eq!(sent("13|s", TokenForm::Full), "Bearer 13|s");
        assert_eq!(sent("jwt.like", TokenForm::Secret), "Bearer jwt.like");
        assert_eq!(sent("13|a|b", TokenForm::Secret), "Bearer 13|a|b");
        assert_eq!(sent("13|", TokenForm::Secret), "Bearer 13|");
    }
}
