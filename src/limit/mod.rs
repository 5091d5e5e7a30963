//! What one client may take of the edge: connections at once, requests and
//! messages per second.

mod connections;
mod rate;

use std::num::NonZeroU32;

use serde::Deserialize;

pub use self::connections::{Connections, Permit, Slot};
pub use self::rate::{RequestRate, SessionRate};

/// `[limits]` of `config.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Connections at once, in all; more wait in the kernel's backlog.
    pub connections: NonZeroU32,
    /// Connections at once per client; more are closed unheard.
    pub connections_per_client: NonZeroU32,
    /// Requests per second and client, on average.
    pub requests_per_second: NonZeroU32,
    /// Requests that a client may send at once before the average counts.
    pub request_burst: NonZeroU32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: count(20_000),
            connections_per_client: count(100),
            requests_per_second: count(50),
            request_burst: count(100),
        }
    }
}

const fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("defaults are above zero")
}
