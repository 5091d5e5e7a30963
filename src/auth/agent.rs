//! The client that uses a token, as far as its handshake shows it: the origin of its page, and
//! its browser.

use hyper::header::{HeaderMap, ORIGIN, USER_AGENT};
use sha2::{Digest, Sha256};

/// A hash of a client's `Origin` and `User-Agent`. Clients with one token and one hash are
/// taken for the same browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AgentHash([u8; 16]);

impl AgentHash {
    /// Returns the hash for the headers of a handshake.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut digest = Sha256::new();
        for name in [ORIGIN, USER_AGENT] {
            for value in headers.get_all(name) {
                digest.update(value.as_bytes());
                // No value has a line break, so two values are never taken for one.
                digest.update(b"\n");
            }
            digest.update(b"\n");
        }
        let bytes: [u8; 32] = digest.finalize().into();
        Self(*bytes.first_chunk().expect("16 of 32 bytes"))
    }

    /// Returns the hash with these bytes.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the hash.
    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(headers: &[(hyper::header::HeaderName, &'static str)]) -> AgentHash {
        let pairs = headers.iter().map(|(name, value)| {
            let value = hyper::header::HeaderValue::from_static(value);
            (name.clone(), value)
        });
        AgentHash::from_headers(&pairs.collect())
    }

    #[test]
    fn other_browsers_and_other_pages_have_other_hashes() {
        let all = [
            agent(&[]),
            agent(&[(ORIGIN, "a")]),
            agent(&[(USER_AGENT, "a")]),
            agent(&[(ORIGIN, "a"), (USER_AGENT, "a")]),
            agent(&[(ORIGIN, "b"), (USER_AGENT, "a")]),
            agent(&[(ORIGIN, "a"), (USER_AGENT, "b")]),
        ];
        for (number, one) in all.iter().enumerate() {
            assert_eq!(all.iter().position(|other| other == one), Some(number));
        }
        assert_eq!(
            agent(&[(ORIGIN, "a"), (USER_AGENT, "b")]),
            agent(&[(USER_AGENT, "b"), (ORIGIN, "a")])
        );
    }
}
