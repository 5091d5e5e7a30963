//! `[server]` of `config.toml`: what only a restart can change.

use std::net::{Ipv6Addr, SocketAddr};

use serde::Deserialize;

use crate::core::units::ConfigDuration;
use crate::forwarded::{TrustedHeaders, TrustedProxies};

/// Where to listen, and how to stop.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Addresses on which TLS is spoken. `[::]` is IPv4 as well.
    pub listen: Vec<SocketAddr>,
    /// Addresses on which plain HTTP is sent to TLS.
    pub redirect_listen: Vec<SocketAddr>,
    /// Addresses of both kinds on which a trusted proxy says by the PROXY
    /// protocol for whom it connects.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Who may say for whom he asks.
    pub trusted_proxies: TrustedProxies,
    /// Which headers of theirs are believed.
    pub trusted_headers: TrustedHeaders,
    /// Threads that do the work; 0 for one per processor.
    pub worker_threads: usize,
    /// How long a stop may take; what is not done then is cut off.
    pub shutdown_timeout: ConfigDuration,
    /// Over how long the ends of WebSocket sessions are spread at a stop.
    pub close_spread: ConfigDuration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 443))],
            redirect_listen: Vec::new(),
            proxy_protocol: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            trusted_headers: TrustedHeaders::default(),
            worker_threads: 0,
            shutdown_timeout: ConfigDuration::seconds(30),
            close_spread: ConfigDuration::seconds(10),
        }
    }
}
