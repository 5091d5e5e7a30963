//! A client's Sanctum token, kept out of every log.

use std::fmt;
use std::num::NonZeroU32;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A bearer token as the client sent it. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Takes `text` if it can be a token: 1 to 1024 visible ASCII characters,
    /// which is what fits into a header, and no comma: Laravel ends a token there,
    /// so `13|s,x` would be one token to it and another to us.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 1024;
        let is_allowed = |b: u8| b.is_ascii_graphic() && b != b',';
        (fits && text.bytes().all(is_allowed)).then(|| Self(text.into()))
    }

    /// The token in `Authorization` as Laravel's `Request::bearerToken()` reads it, if it
    /// can be one. None if there are several such headers.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        Self::new(std::str::from_utf8(bearer(headers)?).ok()?)
    }

    /// The key under which everything about this token is known: its sessions, its
    /// uploads, and what Laravel said of it. Laravel takes a token with and without
    /// the `id|` before its secret, and for more than one spelling of that id: only
    /// the secret is compared.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.without_id().as_bytes()).into())
    }

    fn without_id(&self) -> &str {
        self.0
            .split_once('|')
            .map_or(&*self.0, |(_, secret)| secret)
    }

    /// `Bearer …`: Laravel before version 10 matches the scheme case-sensitively.
    ///
    /// [`TokenForm::Secret`] leaves the id out. A secret with another `|` in it is sent
    /// whole all the same: Sanctum would take its beginning for an id.
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

/// The bytes in `Authorization` that Laravel's `Request::bearerToken()` takes for the
/// token: what follows the last `Bearer `, up to a comma, whatever bytes stand around it.
/// The scheme is compared without case, as RFC 9110 §11.1 has it and Laravel does from
/// version 10 on.
///
/// None if there is no such header, or several: those are read in as many ways as there
/// are servers.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.as_bytes();
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

/// How much of a token the edge's own requests to Laravel carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenForm {
    /// The part after `id|`, which Sanctum finds by its hash. Nothing in such a request
    /// looks like an attack to an app that scans headers for `|`.
    Secret,
    /// All of it, for apps whose token model wants the id.
    Full,
}

/// SHA-256 of a token's secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The key of the token in `Authorization`, whatever stands before its `|`: a
    /// database may read `13é` as 13.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let token = bearer(headers)?;
        let id = token.iter().position(|byte| *byte == b'|');
        let secret = id.map_or(token, |id| &token[id + 1..]);
        Some(Self(Sha256::digest(secret).into()))
    }

    /// So much of it as tells the tokens of one client apart.
    pub fn fingerprint(&self) -> NonZeroU32 {
        let [a, b, c, d, ..] = self.0;
        NonZeroU32::new(u32::from_le_bytes([a, b, c, d])).unwrap_or(NonZeroU32::MAX)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

const SCHEME: &[u8] = b"bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Option<Token> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        Token::from_headers(&headers)
    }

    #[test]
    fn authorization_is_read_as_laravel_reads_it() {
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
            assert_eq!(TokenHash::from_headers(&headers), secret, "{value:?}");
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
    fn token_with_a_comma_is_none() {
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
    fn requests_carry_the_secret_alone_unless_told_otherwise() {
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
