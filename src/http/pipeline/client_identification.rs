//! The stage that identifies the client: its address and its request id, from the
//! connection or from the headers of a trusted proxy.

use hyper::header::HeaderMap;

use crate::forwarded::{ClientInfo, TrustedHeaders, TrustedProxies};
use crate::http::Downstream;

/// Identifies the clients of requests.
#[derive(Debug)]
pub(super) struct ClientIdentification {
    proxies: TrustedProxies,
    trusted_headers: TrustedHeaders,
}

impl ClientIdentification {
    /// Creates the stage. It trusts `trusted_headers`, and only those of `proxies`.
    pub(super) fn new(proxies: TrustedProxies, trusted_headers: TrustedHeaders) -> Self {
        Self {
            proxies,
            trusted_headers,
        }
    }

    /// Returns the client of a request with `headers`.
    pub(super) fn identify(&self, downstream: &Downstream, headers: &HeaderMap) -> ClientInfo {
        let peer = downstream.peer;
        if downstream.is_unnamed {
            ClientInfo::untrusted(peer)
        } else {
            ClientInfo::from_headers(peer, headers, &self.proxies, &self.trusted_headers)
        }
    }
}
