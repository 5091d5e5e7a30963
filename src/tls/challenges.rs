//! The pending ACME challenges, with which the edge proves to the CA that it controls a name.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::sign::CertifiedKey;

/// The pending challenges. The ACME client sets them; the HTTP redirect listener and the TLS
/// handshake read them.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    /// HTTP-01: the response for each token (RFC 8555 §8.3).
    http: Mutex<HashMap<String, String>>,
    /// TLS-ALPN-01: the certificate for each name in lower case (RFC 8737).
    alpn: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Challenges {
    /// Returns the response to an HTTP-01 challenge.
    pub(crate) fn http_response(&self, token: &str) -> Option<String> {
        self.http.lock().get(token).cloned()
    }

    /// Returns the certificate for a TLS-ALPN-01 challenge.
    pub(super) fn tls_certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.alpn.lock().get(&name.to_ascii_lowercase()).cloned()
    }

    /// Adds an HTTP-01 challenge.
    pub(super) fn set_http(&self, token: String, proof: String) {
        self.http.lock().insert(token, proof);
    }

    /// Adds a TLS-ALPN-01 challenge.
    pub(super) fn set_tls(&self, name: &str, proof: Arc<CertifiedKey>) {
        self.alpn.lock().insert(name.to_ascii_lowercase(), proof);
    }

    /// Removes all challenges, after the order has ended.
    pub(super) fn clear(&self) {
        self.http.lock().clear();
        self.alpn.lock().clear();
    }
}
