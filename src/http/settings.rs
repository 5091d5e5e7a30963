//! `[http]` of `config.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::units::{ByteSize, Count, Span};

/// Bounds of what a client may send, and how long it may take.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long the head of a request may take, and how long a kept HTTP/1.1
    /// connection may rest before the next.
    pub header_timeout: Span,
    /// How long an HTTP/2 connection without a request may rest.
    pub idle_timeout: Span,
    /// How long a connection with a request may stand still in both directions.
    pub stall_timeout: Span,
    /// What a request's body must bring each second, on average, once `body_grace`
    /// is over.
    pub min_body_rate: ByteSize,
    /// How long a request's body may be slower.
    pub body_grace: Span,
    /// The longest request head.
    pub max_head: ByteSize,
    /// The longest request body.
    pub max_body: ByteSize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: Count,
    /// How long a tunnel to an app may be silent in both directions.
    pub tunnel_timeout: Span,
    /// The directory with the sysadmin's own error pages.
    pub error_pages: Option<PathBuf>,
    /// For how long browsers are told to come over TLS alone.
    pub hsts: Option<Span>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_timeout: Span::seconds(15),
            idle_timeout: Span::seconds(60),
            stall_timeout: Span::seconds(75),
            min_body_rate: ByteSize::bytes(500),
            body_grace: Span::seconds(10),
            max_head: ByteSize::kib(32),
            max_body: ByteSize::kib(32 * 1024),
            max_streams: Count::new(100),
            tunnel_timeout: Span::seconds(600),
            error_pages: None,
            hsts: None,
        }
    }
}
