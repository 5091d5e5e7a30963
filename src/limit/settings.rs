//! The settings of `[limits]` in `config.toml`, and the names of the limits.

use serde::{Deserialize, Deserializer};

use crate::core::client_ip::{ClientIp, Network};
use crate::core::request_path::ExactPath;
use crate::core::units::{ByteSize, PositiveCount, deserialize_number};

/// The limits of one client and of all together.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Networks whose clients are exempt from the limits per client.
    pub(crate) exempt: Vec<Network>,
    /// The prefix of the IPv6 network that counts as one client.
    pub(crate) ipv6_prefix: Ipv6Prefix,
    /// The prefix of the IPv6 network that counts as a site. Sites are not counted unless
    /// it is shorter than `ipv6_prefix`.
    pub(crate) ipv6_site_prefix: Ipv6Prefix,
    /// The limit of a site, as a multiple of that of one client.
    pub(crate) ipv6_site_multiple: PositiveCount,
    /// Limits that are counted and logged, but reject nothing.
    pub(crate) dry_run: Vec<Limit>,
    /// Concurrent connections in total; more wait in the kernel's backlog.
    pub(crate) max_connections: PositiveCount,
    /// Concurrent connections per client; more are closed without a response.
    pub(crate) max_connections_per_client: PositiveCount,
    /// New connections per second and client, on average.
    pub(crate) connections_per_second: PositiveCount,
    /// New connections of a client at once before the average counts.
    pub(crate) connection_burst: PositiveCount,
    /// Memory in use, in bytes, above which new connections wait.
    pub(crate) max_memory: Option<ByteSize>,
    /// Concurrent TLS handshakes in total; more wait.
    pub(crate) max_handshakes: PositiveCount,
    /// Concurrent TLS handshakes per client; more are closed without a response.
    pub(crate) max_handshakes_per_client: PositiveCount,
    /// Concurrent requests to upstreams in total; more wait a few seconds.
    pub(crate) max_requests_in_flight: PositiveCount,
    /// Concurrent requests to upstreams per client.
    pub(crate) max_requests_in_flight_per_client: PositiveCount,
    /// Concurrent file responses in total; more wait a few seconds. The limit per client
    /// is `max_requests_in_flight_per_client`, counted apart.
    pub(crate) max_open_files: PositiveCount,
    /// Requests per second and client, on average.
    pub(crate) requests_per_second: PositiveCount,
    /// Requests that a client may send at once before the average counts.
    pub(crate) request_burst: PositiveCount,
    /// WebSocket handshakes per second and client, on average.
    pub(crate) websocket_handshakes_per_second: PositiveCount,
    /// WebSocket handshakes of a client at once before the average counts.
    pub(crate) websocket_handshake_burst: PositiveCount,
    /// Concurrent WebSocket sessions per client.
    pub(crate) max_sessions_per_client: PositiveCount,
    /// Paths of log-ins, which are `POST` requests.
    pub(crate) login_paths: Vec<ExactPath>,
    /// Log-ins per minute and client, on average, whatever their result.
    pub(crate) logins_per_minute: PositiveCount,
    /// Log-ins of a client at once before the average counts.
    pub(crate) login_burst: PositiveCount,
    /// Failed log-ins of one client in a minute, after which it cannot log in for a minute.
    pub(crate) failed_logins_per_minute: PositiveCount,
    /// Rejected tokens of one client in a minute, after which it cannot open sessions for a
    /// minute.
    pub(crate) rejected_tokens_per_minute: PositiveCount,
}

impl Default for Settings {
    fn default() -> Self {
        let count = PositiveCount::new;
        Self {
            exempt: Vec::new(),
            ipv6_prefix: Ipv6Prefix(64),
            ipv6_site_prefix: Ipv6Prefix(48),
            ipv6_site_multiple: count(8),
            dry_run: Vec::new(),
            max_connections: count(20_000),
            max_connections_per_client: count(1000),
            connections_per_second: count(50),
            connection_burst: count(1000),
            max_memory: None,
            max_handshakes: count(2_000),
            max_handshakes_per_client: count(256),
            max_requests_in_flight: count(4096),
            max_requests_in_flight_per_client: count(512),
            max_open_files: count(4096),
            requests_per_second: count(100),
            request_burst: count(500),
            websocket_handshakes_per_second: count(20),
            websocket_handshake_burst: count(600),
            max_sessions_per_client: count(600),
            login_paths: vec![ExactPath::new("/api/login")],
            logins_per_minute: count(60),
            login_burst: count(200),
            failed_logins_per_minute: count(20),
            rejected_tokens_per_minute: count(600),
        }
    }
}

/// A limit of each client, user or session, named after its configuration key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// Concurrent connections of one client.
    MaxConnectionsPerClient,
    /// New connections of one client in a second.
    ConnectionsPerSecond,
    /// Concurrent TLS handshakes of one client.
    MaxHandshakesPerClient,
    /// Requests of one client in a second.
    RequestsPerSecond,
    /// Concurrent requests to upstreams, and concurrent file responses.
    MaxRequestsInFlightPerClient,
    /// Requests on a route with a rate of its own.
    Route,
    /// Log-ins of one client in a minute, whatever their result.
    LoginsPerMinute,
    /// Failed log-ins of one client in a minute.
    FailedLoginsPerMinute,
    /// Rejected tokens of one client in a minute.
    RejectedTokensPerMinute,
    /// WebSocket handshakes of one client in a second.
    WebsocketHandshakesPerSecond,
    /// Concurrent WebSocket sessions of one client.
    MaxSessionsPerClient,
    /// Concurrent WebSocket sessions of one user.
    MaxSessionsPerUser,
    /// Messages of one session.
    MessagesPerSecond,
    /// Bytes of one session.
    BytesPerSecond,
    /// Rooms that one session joins.
    JoinsPerMinute,
    /// Rooms that one session has joined.
    MaxRooms,
}

impl Limit {
    /// The number of limits.
    pub(super) const COUNT: usize = 16;

    /// Returns the name in the configuration, the log and the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MaxConnectionsPerClient => "max_connections_per_client",
            Self::ConnectionsPerSecond => "connections_per_second",
            Self::MaxHandshakesPerClient => "max_handshakes_per_client",
            Self::RequestsPerSecond => "requests_per_second",
            Self::MaxRequestsInFlightPerClient => "max_requests_in_flight_per_client",
            Self::Route => "route",
            Self::LoginsPerMinute => "logins_per_minute",
            Self::FailedLoginsPerMinute => "failed_logins_per_minute",
            Self::RejectedTokensPerMinute => "rejected_tokens_per_minute",
            Self::WebsocketHandshakesPerSecond => "websocket_handshakes_per_second",
            Self::MaxSessionsPerClient => "max_sessions_per_client",
            Self::MaxSessionsPerUser => "max_sessions_per_user",
            Self::MessagesPerSecond => "messages_per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::JoinsPerMinute => "joins_per_minute",
            Self::MaxRooms => "max_rooms",
        }
    }

    /// Returns the likeliest cause and its cure, if `client` or the limit itself suggests one.
    pub(super) fn hint(self, client: ClientIp) -> Option<&'static str> {
        match self {
            Self::MaxSessionsPerUser => Some(
                "the user's oldest session is closed: many tabs or devices, or a page that opens \
                 sessions without closing them; see websocket.max_sessions_per_user",
            ),
            Self::MessagesPerSecond
            | Self::BytesPerSecond
            | Self::JoinsPerMinute
            | Self::MaxRooms => None,
            _ if client.is_private() => Some(
                "a private address: if it is a proxy before the edge, list it in \
                 server.trusted_proxies and let it send X-Forwarded-For or the PROXY protocol; \
                 otherwise all its clients count as one",
            ),
            _ => None,
        }
    }
}

/// The length of an IPv6 prefix that one client is taken to own, 32 to 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ipv6Prefix(u32);

impl Ipv6Prefix {
    /// Returns the length in bits.
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Ipv6Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |bits| {
            u32::try_from(bits)
                .ok()
                .filter(|bits| (32..=128).contains(bits))
        };
        let expected = "a whole number from 32 to 128, usually 64 or 56";
        deserialize_number(deserializer, expected, |bits| parse(bits).map(Self))
    }
}
