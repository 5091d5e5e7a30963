//! The settings of `[http]` in `config.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// Bounds and timeouts of HTTP connections and requests.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long the head of a request may take from its first byte, and that of the first
    /// request from the start of the connection.
    pub(crate) header_timeout: ConfigDuration,
    /// How long a connection may be idle between requests.
    pub(crate) idle_timeout: ConfigDuration,
    /// The time for which an open request may make no progress in either direction.
    pub(crate) stream_idle_timeout: ConfigDuration,
    /// The bytes per second that a request body must bring on average, once
    /// `min_body_rate_grace` is over.
    pub(crate) min_body_rate: ByteSize,
    /// The time for which a request body may be below `min_body_rate`.
    pub(crate) min_body_rate_grace: ConfigDuration,
    /// The maximum size of a request head.
    pub(crate) max_header_size: ByteSize,
    /// The maximum length of a request's target: path and query.
    pub(crate) max_target_size: ByteSize,
    /// The maximum size of a request body.
    pub(crate) max_body_size: ByteSize,
    /// The maximum number of concurrent requests on one HTTP/2 connection.
    pub max_concurrent_streams: PositiveCount,
    /// The time for which a tunnel to an application may be idle in both directions.
    pub(crate) tunnel_timeout: ConfigDuration,
    /// The directory with the sysadmin's own error pages.
    pub error_pages: Option<PathBuf>,
    /// The `max-age` of `Strict-Transport-Security`; `None` for no such header.
    pub(crate) hsts_max_age: Option<ConfigDuration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_timeout: ConfigDuration::seconds(10),
            idle_timeout: ConfigDuration::seconds(75),
            stream_idle_timeout: ConfigDuration::seconds(75),
            min_body_rate: ByteSize::bytes(500),
            min_body_rate_grace: ConfigDuration::seconds(10),
            max_header_size: ByteSize::kib(32),
            max_target_size: ByteSize::kib(8),
            max_body_size: ByteSize::kib(32 * 1024),
            max_concurrent_streams: PositiveCount::new(100),
            tunnel_timeout: ConfigDuration::seconds(600),
            error_pages: None,
            hsts_max_age: None,
        }
    }
}
