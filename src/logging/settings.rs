//! The `[log]` section of `config.toml`.

use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

/// The log's level and format.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The least severe level that is logged.
    pub(crate) level: Level,
    /// The format of the lines.
    pub(crate) format: Format,
}

/// A log level. Each level includes those above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Part of the service is lost.
    Error,
    /// A condition that an operator should correct.
    Warn,
    /// A request, a session or a change of state.
    #[default]
    Info,
    /// A mistake of a client, or an event of one connection.
    Debug,
    /// A frame, and every other event.
    Trace,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Text on a terminal, fields for journald, JSON elsewhere.
    #[default]
    Auto,
    /// Text for human readers.
    Human,
    /// One JSON object per line, for programs.
    Json,
}
