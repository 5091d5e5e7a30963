//! `[http]` of `config.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// Bounds of what a client may send, and how long it may take.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long the head of a request may take, and how long a kept HTTP/1.1
    /// connection may rest before the next.
    pub header_timeout: ConfigDuration,
    /// How long an HTTP/2 connection without a request may rest.
    pub idle_timeout: ConfigDuration,
    /// How long a connection with a request may stand still in both directions.
    pub stream_idle_timeout: ConfigDuration,
    /// What a request's body must bring each second, on average, once `min_body_rate_grace`
    /// is over.
    pub min_body_rate: ByteSize,
    /// How long a request's body may be slower.
    pub min_body_rate_grace: ConfigDuration,
    /// The longest request head.
    pub max_header_size: ByteSize,
    /// The longest request body.
    pub max_body_size: ByteSize,
    /// Requests at once on one HTTP/2 connection.
    pub max_concurrent_streams: PositiveCount,
    /// How long a tunnel to an app may be silent in both directions.
    pub tunnel_timeout: ConfigDuration,
    /// The directory with the sysadmin's own error pages.
    pub error_pages: Option<PathBuf>,
    /// For how long browsers are told to come over TLS alone.
    pub hsts_max_age: Option<ConfigDuration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_timeout: ConfigDuration::seconds(15),
            idle_timeout: ConfigDuration::seconds(60),
            stream_idle_timeout: ConfigDuration::seconds(75),
            min_body_rate: ByteSize::bytes(500),
            min_body_rate_grace: ConfigDuration::seconds(10),
            max_header_size: ByteSize::kib(32),
            max_body_size: ByteSize::kib(32 * 1024),
            max_concurrent_streams: PositiveCount::new(100),
            tunnel_timeout: ConfigDuration::seconds(600),
            error_pages: None,
            hsts_max_age: None,
        }
    }
}
