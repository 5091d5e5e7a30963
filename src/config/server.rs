//! `[server]` of `config.toml`: listeners, trusted proxies, threads and shutdown.

use std::net::{Ipv6Addr, SocketAddr};

use serde::{Deserialize, Deserializer};

use crate::core::units::{ConfigDuration, deserialize_number};
use crate::forwarded::{TrustedHeaders, TrustedProxies};

/// Settings of the listeners, the trusted proxies, the worker threads and the shutdown.
///
/// A change of `listen`, `redirect_listen` or `worker_threads` needs a restart.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Addresses that accept TLS. `[::]` accepts IPv4 too.
    pub listen: Vec<SocketAddr>,
    /// Addresses that accept plain HTTP. The edge redirects it to HTTPS, and responds to
    /// ACME challenges.
    pub(crate) redirect_listen: Vec<SocketAddr>,
    /// Addresses of `listen` and `redirect_listen` that require the PROXY protocol. The edge
    /// closes connections from untrusted peers there.
    pub(crate) proxy_protocol: Vec<SocketAddr>,
    /// Proxies whose `X-Forwarded-*` headers and PROXY protocol are trusted.
    pub(crate) trusted_proxies: TrustedProxies,
    /// Headers of the trusted proxies that the edge trusts.
    pub(crate) trusted_headers: TrustedHeaders,
    /// Number of worker threads, at most 1024; 0 is one per processor.
    #[serde(deserialize_with = "deserialize_threads")]
    pub(crate) worker_threads: usize,
    /// Time limit of a shutdown. After it the edge closes the remaining connections.
    pub(crate) shutdown_timeout: ConfigDuration,
    /// Time over which a shutdown closes the WebSocket sessions, so that clients do not all
    /// reconnect at once.
    pub(crate) close_spread: ConfigDuration,
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

/// Reads `worker_threads`.
fn deserialize_threads<'de, D: Deserializer<'de>>(value: D) -> Result<usize, D::Error> {
    let threads = |number| {
        usize::try_from(number)
            .ok()
            .filter(|threads| *threads <= 1024)
    };
    deserialize_number(value, "a whole number from 0 to 1024", threads)
}
