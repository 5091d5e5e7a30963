//! `[log]` of `config.toml`.

use serde::Deserialize;

/// How much is logged, and in which form.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The least important level that is still written.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
}

/// Levels mean actions: error = act, warn = unexpected but handled, info = what
/// happens, debug = each connection, trace = each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what somebody must act on.
    Error,
    /// And what was unexpected.
    Warn,
    /// And requests and sessions.
    #[default]
    Info,
    /// And connections.
    Debug,
    /// And everything else.
    Trace,
}

impl Level {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people on a terminal, fields for journald, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// For programs.
    Json,
}
