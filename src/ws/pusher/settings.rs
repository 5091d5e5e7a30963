//! The `[pusher]` table of `config.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::auth::{AppKey, KeyName, SecretError};
use crate::core::request_path::UrlPath;
use crate::core::units::{ConfigDuration, PositiveCount};

/// The settings of the Pusher protocol. Without a key it is off.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The name of the application, in the URL of clients and in each signature.
    pub(crate) key: Option<KeyName>,
    /// The file with the secret that the edge shares with Laravel.
    pub(crate) secret_file: Option<PathBuf>,
    /// The paths below which clients connect. The key follows the path.
    pub(crate) paths: Vec<UrlPath>,
    /// The time without any message after which a client sends a ping.
    pub(crate) activity_timeout: ConfigDuration,
    /// Whether the members of private and presence channels may publish to each other.
    pub(crate) client_events: bool,
    /// The client events per second of one session; more are dropped.
    pub(crate) client_events_per_second: PositiveCount,
    /// The maximum number of users in a presence channel.
    pub(crate) max_presence_members: PositiveCount,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key: None,
            secret_file: None,
            paths: vec![UrlPath::new("/app")],
            activity_timeout: ConfigDuration::seconds(60),
            client_events: true,
            client_events_per_second: PositiveCount::new(10),
            max_presence_members: PositiveCount::new(200),
        }
    }
}

impl Settings {
    /// Reads the secret; none if the protocol is off. Blocks.
    ///
    /// # Errors
    /// Any variant of [`SecretError`].
    pub(crate) fn load_key(&self) -> Result<Option<AppKey>, SecretError> {
        match (&self.key, &self.secret_file) {
            (Some(key), Some(file)) => AppKey::load(key.clone(), file).map(Some),
            _ => Ok(None),
        }
    }
}
