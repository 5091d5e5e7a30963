//! What one client may take of the edge: connections at once, requests and
//! messages per second.

mod bytes;
mod connections;
mod rate;
mod shares;

use serde::Deserialize;

pub use self::bytes::ByteRate;
pub use self::connections::{Connections, Permit, Slot};
pub use self::rate::{RequestRate, SessionRate};
use self::shares::{Share, Shares};

use crate::units::Count;

/// `[limits]` of `config.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Connections at once, in all; more wait in the kernel's backlog.
    pub connections: Count,
    /// Connections at once per client; more are closed unheard.
    pub connections_per_client: Count,
    /// Requests on their way to Laravel at once, in all; more wait a moment.
    pub requests_in_flight: Count,
    /// Requests of one client on their way to Laravel at once.
    pub requests_in_flight_per_client: Count,
    /// Requests per second and client, on average.
    pub requests_per_second: Count,
    /// Requests that a client may send at once before the average counts.
    pub request_burst: Count,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: count(20_000),
            connections_per_client: count(100),
            requests_in_flight: count(4096),
            requests_in_flight_per_client: count(256),
            requests_per_second: count(50),
            request_burst: count(100),
        }
    }
}

const fn count(n: u32) -> Count {
    Count::new(n)
}
