//! `[admin]` of `config.toml`: the endpoints for monitoring.

use std::net::SocketAddr;

use serde::Deserialize;

/// Settings of the listener for metrics and health checks.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// Addresses that accept plain HTTP without a password. They must be reachable only from
    /// this machine or from a private network. Empty turns monitoring off.
    pub(crate) listen: Vec<SocketAddr>,
}
