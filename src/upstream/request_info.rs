//! Facts about the client of a request that its headers do not carry.

use crate::core::client_ip::ClientKey;

/// The client of a request, as an extension of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestInfo {
    /// The client's port, unless a proxy connects for the client: PHP's `REMOTE_PORT`.
    pub(crate) port: Option<u16>,
    /// The key that counts the client's share of connections and disk space; `None` if the
    /// client has no limits.
    pub(crate) key: Option<ClientKey>,
}
