//! `[limits]` of `config.toml`.

use serde::Deserialize;

use crate::core::client::Network;
use crate::core::paths::ExactPath;
use crate::core::units::{ByteSize, PositiveCount};

/// What one client may take, and all together.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Networks whose clients have no limits of their own.
    pub exempt: Vec<Network>,
    /// The size of the IPv6 network that counts as one client.
    pub ipv6_prefix: Ipv6Prefix,
    /// The size of the IPv6 network that is counted beside its clients; nothing if it
    /// is no larger than a client's.
    pub ipv6_site_prefix: Ipv6Prefix,
    /// How many times what one client may have such a network has.
    pub ipv6_site_multiple: PositiveCount,
    /// Limits that are counted and logged, but refuse nobody.
    pub dry_run: Vec<Limit>,
    /// Connections at once, in all; more wait in the kernel's backlog.
    pub max_connections: PositiveCount,
    /// Connections at once per client; more are closed unheard.
    pub max_connections_per_client: PositiveCount,
    /// New connections per second and client, on average.
    pub connections_per_second: PositiveCount,
    /// New connections of a client at once before the average counts.
    pub connection_burst: PositiveCount,
    /// Memory in use, in bytes, above which new connections wait.
    pub max_memory: Option<ByteSize>,
    /// TLS handshakes at once, in all; more wait.
    pub max_handshakes: PositiveCount,
    /// TLS handshakes of one client at once; more are closed unheard.
    pub max_handshakes_per_client: PositiveCount,
    /// Requests on their way to Laravel at once, in all; more wait a moment.
    pub max_requests_in_flight: PositiveCount,
    /// Requests of one client on their way to Laravel at once.
    pub max_requests_in_flight_per_client: PositiveCount,
    /// Files on their way to clients at once, in all; more wait a moment. One client
    /// may have as many as requests on their way to Laravel.
    pub max_open_files: PositiveCount,
    /// Requests per second and client, on average.
    pub requests_per_second: PositiveCount,
    /// Requests that a client may send at once before the average counts.
    pub request_burst: PositiveCount,
    /// WebSocket handshakes per second and client, on average.
    pub websocket_handshakes_per_second: PositiveCount,
    /// WebSocket handshakes of a client at once before the average counts.
    pub websocket_handshake_burst: PositiveCount,
    /// WebSocket sessions at once per client.
    pub max_sessions_per_client: PositiveCount,
    /// Where clients log in, by `POST`.
    pub login_paths: Vec<ExactPath>,
    /// Log-ins per minute and client, on average.
    pub logins_per_minute: PositiveCount,
    /// Log-ins of a client at once before the average counts.
    pub login_burst: PositiveCount,
    /// Refused log-ins and tokens of one client in a minute; then it waits for one.
    pub failed_logins_per_minute: PositiveCount,
}

impl Default for Settings {
    fn default() -> Self {
        let count = PositiveCount::new;
        Self {
            exempt: Vec::new(),
            ipv6_prefix: Ipv6Prefix(64),
            ipv6_site_prefix: Ipv6Prefix(48),
            ipv6_site_multiple: count(16),
            dry_run: Vec::new(),
            max_connections: count(20_000),
            max_connections_per_client: count(100),
            connections_per_second: count(20),
            connection_burst: count(200),
            max_memory: None,
            max_handshakes: count(2_000),
            max_handshakes_per_client: count(64),
            max_requests_in_flight: count(4096),
            max_requests_in_flight_per_client: count(256),
            max_open_files: count(4096),
            requests_per_second: count(50),
            request_burst: count(100),
            websocket_handshakes_per_second: count(5),
            websocket_handshake_burst: count(60),
            max_sessions_per_client: count(50),
            login_paths: vec![ExactPath::new("/api/login")],
            logins_per_minute: count(5),
            login_burst: count(5),
            failed_logins_per_minute: count(10),
        }
    }
}

/// A limit of each client, user or session, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Connections at once.
    MaxConnectionsPerClient,
    /// New connections.
    ConnectionsPerSecond,
    /// TLS handshakes at once.
    MaxHandshakesPerClient,
    /// Requests.
    RequestsPerSecond,
    /// Requests on their way to Laravel.
    MaxRequestsInFlightPerClient,
    /// Requests on a route with a rate of its own.
    Route,
    /// Log-ins.
    LoginsPerMinute,
    /// Refused log-ins and tokens.
    FailedLoginsPerMinute,
    /// WebSocket handshakes.
    WebsocketHandshakesPerSecond,
    /// WebSocket sessions at once.
    MaxSessionsPerClient,
    /// WebSocket sessions of one user at once.
    MaxSessionsPerUser,
    /// Messages of one session.
    MessagesPerSecond,
    /// Bytes of one session.
    BytesPerSecond,
    /// Tickets that one session joins.
    JoinsPerMinute,
    /// Tickets that one session has open.
    MaxRooms,
}

impl Limit {
    /// How many there are.
    pub(super) const COUNT: usize = 15;

    /// As configuration, log and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxConnectionsPerClient => "max_connections_per_client",
            Self::ConnectionsPerSecond => "connections_per_second",
            Self::MaxHandshakesPerClient => "max_handshakes_per_client",
            Self::RequestsPerSecond => "requests_per_second",
            Self::MaxRequestsInFlightPerClient => "max_requests_in_flight_per_client",
            Self::Route => "route",
            Self::LoginsPerMinute => "logins_per_minute",
            Self::FailedLoginsPerMinute => "failed_logins_per_minute",
            Self::WebsocketHandshakesPerSecond => "websocket_handshakes_per_second",
            Self::MaxSessionsPerClient => "max_sessions_per_client",
            Self::MaxSessionsPerUser => "max_sessions_per_user",
            Self::MessagesPerSecond => "messages_per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::JoinsPerMinute => "joins_per_minute",
            Self::MaxRooms => "max_rooms",
        }
    }
}

/// The length of an IPv6 prefix that one client is taken to own, 32 to 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Ipv6Prefix(u32);

impl Ipv6Prefix {
    /// In bits.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Ipv6Prefix {
    type Error = String;

    fn try_from(bits: u32) -> Result<Self, String> {
        match bits {
            32..=128 => Ok(Self(bits)),
            _ => Err(format!(
                "{bits} is no prefix of a client; expected 32 to 128, usually 64 or 56"
            )),
        }
    }
}
