//! The `[websocket]` table of `config.toml`.

use serde::Deserialize;

use super::upload;
use crate::core::origin::PageOrigin;
use crate::core::request_path::ExactPath;
use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// The settings of sessions.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The paths on which the edge accepts upgrades. It passes all others to Laravel.
    pub(crate) paths: Vec<ExactPath>,
    /// The origins of other sites and of apps whose pages may connect, besides the site's own.
    pub(crate) allowed_origins: Vec<PageOrigin>,
    /// The maximum size of a client's message; a larger one closes the session.
    pub(crate) max_message_size: ByteSize,
    /// The average rate of messages of one session.
    pub(crate) messages_per_second: PositiveCount,
    /// The messages that a session may send at once before the rate applies.
    pub(crate) message_burst: PositiveCount,
    /// The average rate of bytes of one session, without uploads.
    pub(crate) bytes_per_second: ByteSize,
    /// The average rate at which a session may join tickets.
    pub(crate) joins_per_minute: PositiveCount,
    /// The tickets that a session may join at once before the rate applies.
    pub(crate) join_burst: PositiveCount,
    /// The maximum number of sessions of one user. Above it the oldest is closed.
    pub(crate) max_sessions_per_user: PositiveCount,
    /// The time for which a session may exceed one of these rates, slowed down, before it is
    /// closed.
    pub(crate) throttle_timeout: ConfigDuration,
    /// The maximum number of rooms of one session.
    pub(crate) max_rooms: PositiveCount,
    /// The maximum number of events queued for a session. Above it the session is closed, and
    /// the client reconnects.
    pub(crate) max_queued_events: PositiveCount,
    /// The maximum size of the events queued for a session, with the same effect.
    pub(crate) max_queued_size: ByteSize,
    /// The time limit of one write to the client.
    pub(crate) write_timeout: ConfigDuration,
    /// The interval of the pings to each client, with jitter.
    pub(crate) ping_interval: ConfigDuration,
    /// The time without any frame of the client, after which the session is closed.
    pub(crate) pong_timeout: ConfigDuration,
    /// The interval at which a session's token and rooms are revalidated, with jitter.
    pub(crate) revalidate_interval: ConfigDuration,
    /// The `[websocket.uploads]` table.
    pub(crate) uploads: upload::Settings,
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
