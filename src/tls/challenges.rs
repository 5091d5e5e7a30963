//! Proofs that a name is ours, for as long as an ACME server asks for them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::sign::CertifiedKey;

/// What is proved now. Filled by the ACME client, read by port 80 and by the
/// handshake.
#[derive(Debug, Default)]
pub struct Challenges {
    /// HTTP-01: what to answer, by token (RFC 8555 §8.3).
    http: Mutex<HashMap<String, String>>,
    /// TLS-ALPN-01: which certificate to show, by name (RFC 8737).
    alpn: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Challenges {
    /// The answer to a challenge over HTTP.
    pub fn http_response(&self, token: &str) -> Option<String> {
        self.http.lock().get(token).cloned()
    }

    /// The answer to a challenge in the handshake.
    pub(super) fn tls_certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.alpn.lock().get(&name.to_ascii_lowercase()).cloned()
    }

    pub(super) fn set_http(&self, token: String, proof: String) {
        self.http.lock().insert(token, proof);
    }

    pub(super) fn set_tls(&self, name: &str, proof: Arc<CertifiedKey>) {
        self.alpn.lock().insert(name.to_ascii_lowercase(), proof);
    }

    /// Nothing is asked any more.
    pub(super) fn clear(&self) {
        self.http.lock().clear();
        self.alpn.lock().clear();
    }
}
