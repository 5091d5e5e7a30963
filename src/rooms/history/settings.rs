//! The `[history]` table of `config.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// The settings of the history of events.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Whether events have positions, and rooms keep them for clients that return.
    pub(crate) enabled: bool,
    /// The directory of the event log. Empty: the history ends with the process.
    pub(crate) directory: PathBuf,
    /// When the event log is flushed to the disk.
    pub(crate) sync: SyncPolicy,
    /// The time between two flushes with [`SyncPolicy::Interval`].
    pub(crate) sync_interval: ConfigDuration,
    /// The maximum number of events that a room keeps.
    pub(crate) max_events_per_room: PositiveCount,
    /// The time for which events are kept.
    pub(crate) max_age: ConfigDuration,
    /// The maximum memory of the events that all rooms keep together.
    pub(crate) max_memory: ByteSize,
    /// The maximum size of the event log.
    pub(crate) max_disk: ByteSize,
    /// The time within which a lost client without positions may return and get what it has
    /// missed.
    pub(crate) resume_timeout: ConfigDuration,
    /// Whether clients without positions get what they have missed.
    pub(crate) old_clients: OldClients,
}

/// When the event log is flushed to the disk. A killed process loses nothing in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncPolicy {
    /// Every `sync_interval`: a power failure may lose that much.
    Interval,
    /// Before each response to Laravel.
    Always,
}

/// The way in which the edge serves clients that know no positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OldClients {
    /// Pings find out what a client has. When it returns, it gets the rest.
    Resume,
    /// They load what they have missed from Laravel.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: "/var/lib/pwd-edge/history".into(),
            sync: SyncPolicy::Interval,
            sync_interval: ConfigDuration::seconds(1),
            max_events_per_room: PositiveCount::new(200),
            max_age: ConfigDuration::seconds(3600),
            max_memory: ByteSize::kib(64 * 1024),
            max_disk: ByteSize::kib(256 * 1024),
            resume_timeout: ConfigDuration::seconds(120),
            old_clients: OldClients::Resume,
        }
    }
}

impl Settings {
    /// Returns the directory of the event log, if there is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        let has_log = self.enabled && !self.directory.as_os_str().is_empty();
        has_log.then_some(&self.directory)
    }

    /// Returns the directory, unless the history ends with the process.
    pub(crate) fn directory_mut(&mut self) -> Option<&mut PathBuf> {
        let directory = &mut self.directory;
        (!directory.as_os_str().is_empty()).then_some(directory)
    }
}

#[cfg(test)]
impl Settings {
    /// Returns the settings without a history.
    pub(crate) fn off() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }

    /// Returns the settings with a history for clients that know positions.
    pub(crate) fn without_old_clients() -> Self {
        Self {
            old_clients: OldClients::Off,
            ..Self::default()
        }
    }
}
