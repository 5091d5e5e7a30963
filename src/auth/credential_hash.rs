//! The hash of a credential: the key of its sessions, uploads and cached decisions. It is
//! never logged.

use std::fmt;
use std::num::NonZeroU32;

use sha2::{Digest, Sha256};

/// The SHA-256 hash of a credential's secret. Its `Debug` output does not contain it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CredentialHash([u8; 32]);

impl CredentialHash {
    /// Returns the hash of the secret of a token.
    pub(super) fn of_token(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Returns 32 bits of the hash, enough to tell the credentials of one client apart.
    pub(crate) fn fingerprint(&self) -> NonZeroU32 {
        let [a, b, c, d, ..] = self.0;
        NonZeroU32::new(u32::from_le_bytes([a, b, c, d])).unwrap_or(NonZeroU32::MAX)
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash")
    }
}
