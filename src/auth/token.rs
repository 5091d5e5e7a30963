//! A client's Sanctum token, kept out of every log.

use std::fmt;
use std::num::NonZeroU32;

use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};

/// A bearer token as the client sent it. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Takes `text` if it can be a token: 1 to 1024 visible ASCII characters,
    /// which is what fits into a header.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 1024;
        (fits && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The key under which answers about this token are remembered.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The key under which the token's sessions are known. Laravel takes a token
    /// with and without the `id|` before its secret, and for more than one
    /// spelling of that id: only the secret is compared.
    pub fn secret(&self) -> TokenHash {
        let secret = self
            .0
            .split_once('|')
            .map_or(&*self.0, |(_, secret)| secret);
        TokenHash(Sha256::digest(secret.as_bytes()).into())
    }

    /// `Bearer …`: Laravel matches the scheme case-sensitively.
    pub(super) fn authorization(&self) -> HeaderValue {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", self.0)).expect("a token is visible ASCII");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// So much of it as tells the tokens of one client apart.
    pub fn short(&self) -> NonZeroU32 {
        let [a, b, c, d, ..] = self.0;
        NonZeroU32::new(u32::from_le_bytes([a, b, c, d])).unwrap_or(NonZeroU32::MAX)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}
