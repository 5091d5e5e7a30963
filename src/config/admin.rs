//! `[admin]` of `config.toml`.

use std::net::SocketAddr;

use serde::Deserialize;

/// Where monitoring asks for numbers and health.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Addresses, without TLS and without a password: for this machine alone, or
    /// a network that nobody else is in.
    pub listen: Vec<SocketAddr>,
}
