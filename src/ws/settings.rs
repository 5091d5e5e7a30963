//! `[websocket]` of `config.toml`.

use serde::Deserialize;

use super::upload;
use crate::core::host_port::HostPort;
use crate::core::paths::ExactPath;
use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// How sessions are opened and kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The paths on which an upgrade is answered here; elsewhere it is Laravel's.
    pub paths: Vec<ExactPath>,
    /// Origins that may connect besides the site's own host.
    pub allowed_origins: Vec<Origin>,
    /// The longest message that a client may send.
    pub max_message_size: ByteSize,
    /// Messages per second and session, on average.
    pub messages_per_second: PositiveCount,
    /// Messages that a session may send at once before the average counts.
    pub message_burst: PositiveCount,
    /// Bytes per second and session, on average; files do not count.
    pub bytes_per_second: ByteSize,
    /// Tickets per minute that a session may join, on average.
    pub joins_per_minute: PositiveCount,
    /// Tickets that a session may join at once before the average counts.
    pub join_burst: PositiveCount,
    /// Sessions of one user at once; the oldest makes way.
    pub max_sessions_per_user: PositiveCount,
    /// How long a session may press on over such a rate, slowed down, before it
    /// is closed.
    pub throttle_timeout: ConfigDuration,
    /// Rooms that a session may be in.
    pub max_rooms: PositiveCount,
    /// Events that may wait for a session before it is told to come back.
    pub max_queued_events: PositiveCount,
    /// Bytes that may wait for a session before it is told to come back.
    pub max_queued_size: ByteSize,
    /// How long one write may take.
    pub write_timeout: ConfigDuration,
    /// How often a quiet client is pinged.
    pub ping_interval: ConfigDuration,
    /// How long a client may be silent, pings unanswered, before it is closed.
    pub pong_timeout: ConfigDuration,
    /// How often Laravel is asked again about a session's token and rooms.
    pub revalidate_interval: ConfigDuration,
    /// `[websocket.uploads]`
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
    /// The origin in the text of an `Origin` header, if it is one. Compared by
    /// scheme, host and port, never by parts of the text.
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

    /// Whether this is a page served by us under the name in `host`, on
    /// whichever port: the old front end connects to another than its page's.
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
