//! `[admin]` of `config.toml`: the endpoints for monitoring, and what they call ready.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::introspection::LARAVEL;

/// Settings of the listener for metrics and health checks.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// Addresses that accept plain HTTP without a password. They must be reachable only from
    /// this machine or from a private network. Empty turns monitoring off.
    pub(crate) listen: Vec<SocketAddr>,
    /// The names of the upstreams without which the edge is not ready: `laravel` is that of
    /// `[upstream]`.
    pub(crate) required_upstreams: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            required_upstreams: vec![LARAVEL.to_owned()],
        }
    }
}
