//! The hash of a credential: the key of its sessions, uploads and cached decisions. It is
//! never logged.

use std::fmt;
use std::num::NonZeroU32;

use sha2::{Digest, Sha256};

/// The SHA-256 hash of a credential. Its `Debug` output does not contain it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CredentialHash {
    digest: [u8; 32],
    kind: Kind,
}

/// The kind of a credential: a token and a cookie with the same bytes are different ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Token,
    Cookie,
}

impl CredentialHash {
    /// Returns the hash of the secret of a token.
    pub(super) fn of_token(secret: &[u8]) -> Self {
        Self {
            digest: Sha256::digest(secret).into(),
            kind: Kind::Token,
        }
    }

    /// Returns the hash of session cookies.
    pub(super) fn of_cookies(cookies: &[u8]) -> Self {
        Self {
            digest: Sha256::digest(cookies).into(),
            kind: Kind::Cookie,
        }
    }

    /// Returns the hash of a token with this digest.
    pub(crate) fn of_token_digest(digest: [u8; 32]) -> Self {
        Self {
            digest,
            kind: Kind::Token,
        }
    }

    /// Returns the SHA-256 digest.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns whether it is the hash of session cookies.
    pub(crate) fn is_cookie(self) -> bool {
        self.kind == Kind::Cookie
    }

    /// Returns 32 bits of the hash, enough to tell the credentials of one client apart.
    pub(crate) fn fingerprint(&self) -> NonZeroU32 {
        let [a, b, c, d, ..] = self.digest;
        NonZeroU32::new(u32::from_le_bytes([a, b, c, d])).unwrap_or(NonZeroU32::MAX)
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_cookie_of_the_same_bytes_have_different_hashes() {
        let (token, cookie) = (
            CredentialHash::of_token(b"a"),
            CredentialHash::of_cookies(b"a"),
        );
        assert_ne!(token, cookie);
        assert!(cookie.is_cookie() && !token.is_cookie());
        assert_eq!(cookie, CredentialHash::of_cookies(b"a"));
    }
}
