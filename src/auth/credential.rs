//! The credential of a client, which the edge's requests to Laravel carry. It is never logged.

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::{CredentialHash, Token, TokenForm};

/// What a client authenticates with, as it sent it. Its `Debug` output does not contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A Sanctum token.
    Token(Token),
}

impl Credential {
    /// Returns the hash of the credential, the key of its sessions, uploads and cached
    /// decisions.
    pub(crate) fn hash(&self) -> CredentialHash {
        match self {
            Self::Token(token) => token.hash(),
        }
    }

    /// Adds to `headers` those by which Laravel authenticates the request. `form` is the part
    /// of a token that they carry.
    pub(super) fn write_headers(&self, form: TokenForm, headers: &mut HeaderMap) {
        match self {
            Self::Token(token) => {
                headers.insert(AUTHORIZATION, token.authorization(form));
            }
        }
    }
}
