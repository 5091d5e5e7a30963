//! The settings of an app: `[upstream]` and `[upstreams.NAME]` of `config.toml`.

use std::path::PathBuf;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use serde::Deserialize;

use super::Targets;
use crate::core::request_path;
use crate::core::units::{BufferSize, ByteSize, ConfigDuration, PositiveCount};

/// The addresses of an app's servers, and how the edge sends requests to them. Every app has
/// settings of its own.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The servers of the app.
    pub(crate) url: Targets,
    /// For FastCGI, and only then: the app's `public` directory, as php-fpm sees it. Its
    /// `index.php` runs for every request.
    pub(crate) root: Option<PathBuf>,
    /// The maximum of buffered bytes on disk: request bodies for php-fpm until they are
    /// complete, and responses until their clients have read them.
    pub(crate) disk_buffer_size: ByteSize,
    /// The maximum of bytes of one response that are read ahead of its client.
    pub response_buffer_size: BufferSize,
    /// The algorithm that chooses among several servers.
    pub(crate) balance: Balance,
    /// The time within which a server must accept a connection.
    pub(crate) connect_timeout: ConfigDuration,
    /// The time within which the head of a response must arrive, counted from the last byte
    /// of the request that moved.
    pub(crate) response_timeout: ConfigDuration,
    /// The time after which an idle connection is closed. It must be below the server's own
    /// idle timeout.
    pub(crate) idle_timeout: ConfigDuration,
    /// The maximum number of idle connections to each server.
    pub(crate) max_idle_connections: PositiveCount,
    /// The maximum number of requests at the app at once. More of them wait in the edge,
    /// which serves the clients in turn; one client gets half at most. `None`: no limit.
    pub(crate) max_connections: Option<PositiveCount>,
    /// The time for which a request retries while no server accepts a connection, counted
    /// from the first failure.
    pub(crate) connect_retry_timeout: ConfigDuration,
    /// The number of failed requests in a row that mark one of several servers down.
    pub(crate) max_fails: PositiveCount,
    /// The time for which a failed server is skipped.
    pub(crate) fail_timeout: ConfigDuration,
    /// The path of health checks; `None` turns them off.
    pub(crate) health_check_path: Option<HealthCheckPath>,
    /// The pause between two health checks of a server.
    pub(crate) health_check_interval: ConfigDuration,
    /// The time within which a server must respond to a health check.
    pub(crate) health_check_timeout: ConfigDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: Targets::default(),
            root: None,
            disk_buffer_size: ByteSize::kib(1024 * 1024),
            response_buffer_size: BufferSize::kib(64 * 1024),
            balance: Balance::RoundRobin,
            connect_timeout: ConfigDuration::seconds(3),
            response_timeout: ConfigDuration::seconds(60),
            idle_timeout: ConfigDuration::seconds(15),
            max_idle_connections: PositiveCount::new(64),
            max_connections: None,
            connect_retry_timeout: ConfigDuration::seconds(2),
            max_fails: PositiveCount::new(3),
            fail_timeout: ConfigDuration::seconds(10),
            health_check_path: None,
            health_check_interval: ConfigDuration::seconds(10),
            health_check_timeout: ConfigDuration::seconds(5),
        }
    }
}

impl Settings {
    /// Returns a warning if `index.php` is missing or temporary files cannot be created.
    ///
    /// It is not an error: php-fpm may run in another container and see other files.
    pub(crate) fn doubt(&self) -> Option<String> {
        let Some(root) = &self.root else {
            let buffers = self.response_buffer_size.get();
            return buffers.and_then(|_| Self::check_temp_dir(""));
        };
        let index = root.join("index.php");
        let why = match std::fs::metadata(&index) {
            Ok(file) if file.is_file() => {
                return Self::check_temp_dir(
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

    /// Returns a warning if a temporary file cannot be created. `bodies` is the part of it
    /// that says what happens to request bodies.
    fn check_temp_dir(bodies: &str) -> Option<String> {
        let error = tempfile::tempfile().err()?;
        Some(format!(
            "upstream.disk_buffer_size: {}: {error};{bodies} slow clients hold up the application: set \
             TMPDIR to a directory that the edge's user may write to",
            std::env::temp_dir().display()
        ))
    }
}

/// The algorithm that chooses the server for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Balance {
    /// The next server in turn.
    RoundRobin,
    /// The server with the fewest active requests.
    LeastRequests,
}

/// The request target of a health check: a path, and a query if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct HealthCheckPath(PathAndQuery);

impl HealthCheckPath {
    pub(super) fn uri(&self) -> Uri {
        self.0.clone().into()
    }
}

impl TryFrom<String> for HealthCheckPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        request_path::check_literal(&text, None)?;
        let path = text.parse().ok().filter(|_| text.starts_with('/'));
        path.map(Self)
            .ok_or_else(|| format!("{text:?} is not a path; expected one such as \"/up\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_check_path_that_is_no_path_is_rejected() {
        for (text, fits) in [
            ("/up", true),
            ("/up?a=1", true),
            ("up", false),
            ("/<", false),
        ] {
            assert_eq!(
                HealthCheckPath::try_from(text.to_owned()).is_ok(),
                fits,
                "{text}"
            );
        }
    }
}
