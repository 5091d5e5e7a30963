//! For whom a request is sent.

use crate::core::client::ClientKey;

/// What is known of a request's client beside its headers, as an extension of the
/// request.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo {
    /// The port from which it asks, unless a proxy asks for it: PHP's `REMOTE_PORT`.
    pub port: Option<u16>,
    /// By which its share of what there is for all is counted; none if it has no
    /// limits.
    pub key: Option<ClientKey>,
}
