//! The credential of a client, which the edge's requests to Laravel carry. It is never logged.

use std::sync::Arc;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::{CredentialHash, SessionCookie, Token, TokenForm};

/// What a client authenticates with, as it sent it. Its `Debug` output does not contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A Sanctum token.
    Token(Token),
    /// The cookies of a browser's session.
    Cookie(Arc<SessionCookie>),
}

impl Credential {
    /// Returns the hash of the credential, the key of its sessions and cached decisions.
    pub(crate) fn hash(&self) -> CredentialHash {
        match self {
            Self::Token(token) => token.hash(),
            Self::Cookie(cookie) => cookie.hash(),
        }
    }

    /// Returns whether it is a session cookie.
    pub(crate) fn is_cookie(&self) -> bool {
        matches!(self, Self::Cookie(_))
    }

    /// Returns the key by which a later session of the same user finds what this one has left,
    /// such as an upload. It is the hash of a token, since tokens of one user may have
    /// different abilities. All cookies have one key: Laravel changes their value with each
    /// response, and they have no abilities.
    pub(crate) fn resume_key(&self) -> CredentialHash {
        match self {
            Self::Token(token) => token.hash(),
            Self::Cookie(_) => CredentialHash::of_cookies(b""),
        }
    }

    /// Adds to `headers` those by which Laravel authenticates a request with `method`. `form`
    /// is the part of a token that they carry.
    pub(super) fn write_headers(&self, method: &Method, form: TokenForm, headers: &mut HeaderMap) {
        match self {
            Self::Token(token) => {
                headers.insert(AUTHORIZATION, token.authorization(form));
            }
            Self::Cookie(cookie) => cookie.write_headers(method, headers),
        }
    }
}
