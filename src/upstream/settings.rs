//! `[upstream]` of `config.toml`.

use std::path::PathBuf;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use serde::Deserialize;

use super::Targets;
use crate::core::paths;
use crate::core::units::{BufferSize, ByteSize, ConfigDuration, PositiveCount};

/// Where an app listens and how it is spoken to. Nothing in here is about one
/// app only: each upstream has settings of its own.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where Laravel listens: one server, or several of the same app.
    pub url: Targets,
    /// For php-fpm: the app's `public` directory, as php-fpm sees it; its
    /// `index.php` is run for every request. There if and only if `url` is FastCGI.
    pub root: Option<PathBuf>,
    /// How many bytes may wait on disk: request bodies for php-fpm until they are
    /// whole and a process may be asked, and responses until their clients read them.
    pub spool: ByteSize,
    /// How many bytes of one response are read ahead of its client.
    pub response_buffer_size: BufferSize,
    /// Which of several servers a request goes to.
    pub balance: Balance,
    /// How long a connection may take to be accepted.
    pub connect_timeout: ConfigDuration,
    /// How long the head of an answer may take, counted from the last moment
    /// that a byte of the request moved.
    pub response_timeout: ConfigDuration,
    /// How long an unused connection is kept: less than the app keeps it.
    pub idle_timeout: ConfigDuration,
    /// How many unused connections are kept to each server.
    pub max_idle: PositiveCount,
    /// How many requests may be at the app at once; more wait here, each client in its
    /// turn, and one client has half of them at most. No bound by default.
    pub max_connections: Option<PositiveCount>,
    /// How long a request waits while no server accepts a connection, counted
    /// from the first refusal.
    pub wait: ConfigDuration,
    /// After how many failures in a row one of several servers is skipped.
    pub max_failures: PositiveCount,
    /// For how long it is skipped.
    pub fail_timeout: ConfigDuration,
    /// What is asked of each server at intervals; nothing without it.
    pub probe_path: Option<ProbePath>,
    /// How often it is asked.
    pub probe_interval: ConfigDuration,
    /// How long such an answer may take.
    pub probe_timeout: ConfigDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: Targets::default(),
            root: None,
            spool: ByteSize::kib(1024 * 1024),
            response_buffer_size: BufferSize::kib(64 * 1024),
            balance: Balance::RoundRobin,
            connect_timeout: ConfigDuration::seconds(3),
            response_timeout: ConfigDuration::seconds(60),
            idle_timeout: ConfigDuration::seconds(15),
            max_idle: PositiveCount::new(64),
            max_connections: None,
            wait: ConfigDuration::seconds(2),
            max_failures: PositiveCount::new(3),
            fail_timeout: ConfigDuration::seconds(10),
            probe_path: None,
            probe_interval: ConfigDuration::seconds(10),
            probe_timeout: ConfigDuration::seconds(5),
        }
    }
}

impl Settings {
    /// What may be wrong about the app's files. It need not be: php-fpm may run where
    /// it sees others than the edge does.
    pub fn doubt(&self) -> Option<String> {
        let Some(root) = &self.root else {
            let buffers = self.response_buffer_size.get();
            return buffers.and_then(|_| Self::doubt_of_spool(""));
        };
        let index = root.join("index.php");
        let why = match std::fs::metadata(&index) {
            Ok(file) if file.is_file() => {
                return Self::doubt_of_spool(
                    " request bodies of more than 64 KiB are refused, and",
                );
            }
            Ok(_) => "is no file".to_owned(),
            Err(error) => error.to_string(),
        };
        Some(format!(
            "upstream.root: {}: {why}; right only if php-fpm runs elsewhere, or the edge's user \
             may not look there",
            index.display()
        ))
    }

    /// `bodies` says what becomes of request bodies.
    fn doubt_of_spool(bodies: &str) -> Option<String> {
        let error = tempfile::tempfile().err()?;
        Some(format!(
            "upstream.spool: {}: {error};{bodies} slow clients hold up the application: set \
             TMPDIR to a directory that the edge's user may write to",
            std::env::temp_dir().display()
        ))
    }
}

/// Which of several servers a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each in its turn.
    RoundRobin,
    /// The one that has the fewest requests under way.
    LeastRequests,
}

/// What a probe asks for: a path, with a query if need be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProbePath(PathAndQuery);

impl ProbePath {
    pub(super) fn uri(&self) -> Uri {
        self.0.clone().into()
    }
}

impl TryFrom<String> for ProbePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        paths::check_literal(&text, None)?;
        let path = text.parse().ok().filter(|_| text.starts_with('/'));
        path.map(Self)
            .ok_or_else(|| format!("{text:?} is not a path; expected one such as \"/up\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_asks_for_a_path() {
        for (text, fits) in [
            ("/up", true),
            ("/up?a=1", true),
            ("up", false),
            ("/<", false),
        ] {
            assert_eq!(ProbePath::try_from(text.to_owned()).is_ok(), fits, "{text}");
        }
    }
}
