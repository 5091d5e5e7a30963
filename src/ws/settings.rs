//! The `[websocket]` table of `config.toml`.

use serde::Deserialize;

use super::upload;
use crate::core::host_port::HostPort;
use crate::core::request_path::ExactPath;
use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// The settings of sessions.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The paths on which the edge accepts upgrades. It passes all others to Laravel.
    pub paths: Vec<ExactPath>,
    /// The origins whose pages may connect, besides the site's own.
    pub allowed_origins: Vec<Origin>,
    /// The maximum size of a client's message; a larger one closes the session.
    pub max_message_size: ByteSize,
    /// The average rate of messages of one session.
    pub messages_per_second: PositiveCount,
    /// The messages that a session may send at once before the rate applies.
    pub message_burst: PositiveCount,
    /// The average rate of bytes of one session, without uploads.
    pub bytes_per_second: ByteSize,
    /// The average rate at which a session may join tickets.
    pub joins_per_minute: PositiveCount,
    /// The tickets that a session may join at once before the rate applies.
    pub join_burst: PositiveCount,
    /// The maximum number of sessions of one user. Above it the oldest is closed.
    pub max_sessions_per_user: PositiveCount,
    /// The time for which a session may exceed one of these rates, slowed down, before it is
    /// closed.
    pub throttle_timeout: ConfigDuration,
    /// The maximum number of rooms of one session.
    pub max_rooms: PositiveCount,
    /// The maximum number of events queued for a session. Above it the session is closed, and
    /// the client reconnects.
    pub max_queued_events: PositiveCount,
    /// The maximum size of the events queued for a session, with the same effect.
    pub max_queued_size: ByteSize,
    /// The time limit of one write to the client.
    pub write_timeout: ConfigDuration,
    /// The interval of the pings to each client, with jitter.
    pub ping_interval: ConfigDuration,
    /// The time without any frame of the client, after which the session is closed.
    pub pong_timeout: ConfigDuration,
    /// The interval at which a session's token and rooms are revalidated, with jitter.
    pub revalidate_interval: ConfigDuration,
    /// The `[websocket.uploads]` table.
    pub uploads: upload::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        let count = PositiveCount::new;
        Self {
            paths: vec![ExactPath::new("/"), ExactPath::new("/ws")],
            allowed_origins: Vec::new(),
            max_message_size: ByteSize::kib(64),
            messages_per_second: count(20),
            message_burst: count(40),
            bytes_per_second: ByteSize::kib(64),
            joins_per_minute: count(120),
            join_burst: count(100),
            max_sessions_per_user: count(10),
            throttle_timeout: ConfigDuration::seconds(10),
            max_rooms: count(100),
            max_queued_events: count(1024),
            max_queued_size: ByteSize::kib(1024),
            write_timeout: ConfigDuration::seconds(10),
            ping_interval: ConfigDuration::seconds(25),
            pong_timeout: ConfigDuration::seconds(60),
            revalidate_interval: ConfigDuration::seconds(300),
            uploads: upload::Settings::default(),
        }
    }
}

/// An origin (RFC 6454) such as `https://desk.example` or `http://localhost:3000`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

impl Origin {
    /// Parses the value of an `Origin` header; none if it is no origin. Origins are equal if
    /// scheme, host and port are.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let HostPort { host, port } = HostPort::parse(authority)?;
        let port = port.unwrap_or(default_port);
        Some(Self(format!("{scheme}://{host}:{port}")))
    }

    /// Returns whether this is the site's own origin: HTTPS with the name in `host`, on any port.
    /// The old front end connects to another port than that of its page.
    pub(super) fn is_site(&self, host: &str) -> bool {
        let own = HostPort::parse(host).map(|own| own.host);
        let Some((scheme, authority)) = self.0.split_once("://") else {
            return false;
        };
        let theirs = HostPort::parse(authority).map(|theirs| theirs.host);
        scheme == "https" && own.is_some() && own == theirs
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| {
            format!(r#"{text:?} is not an origin; expected one such as "https://desk.example""#)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_of_the_site_is_https_under_its_host() {
        let site = |origin: &str| Origin::parse(origin).unwrap().is_site("Desk.example:8080");
        assert!(site("https://desk.example") && site("https://desk.example:8080"));
        assert!(!site("http://desk.example") && !site("https://desk.example.evil"));
        assert!(!Origin::parse("https://desk.example").unwrap().is_site(""));
    }

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let same = |a, b| Origin::parse(a).unwrap() == Origin::parse(b).unwrap();
        assert!(same("https://Desk.example", "https://desk.example:443"));
        assert!(!same("https://desk.example", "http://desk.example"));
        assert!(!same("https://desk.example", "https://desk.example:8443"));
        assert!(!same("https://desk.example", "https://desk.example.evil"));
        for wrong in [
            "null",
            "",
            "desk.example",
            "https://",
            "https://a@b",
            "file://x",
            "https://h:99999",
        ] {
            assert_eq!(Origin::parse(wrong), None, "{wrong}");
        }
    }
}
