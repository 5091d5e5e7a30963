//! The `[rooms]` table of `config.toml`.

use serde::Deserialize;

use crate::core::units::ConfigDuration;

/// The settings of presence and typing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The time for which a disconnected user still counts as present, so that a page reload
    /// publishes no events.
    pub(crate) presence_timeout: ConfigDuration,
    /// The time after which typing ends unless the client repeats it.
    pub(crate) typing_timeout: ConfigDuration,
    /// The minimum time between two typing events of one user to the others.
    pub(crate) typing_interval: ConfigDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            presence_timeout: ConfigDuration::seconds(8),
            typing_timeout: ConfigDuration::seconds(6),
            typing_interval: ConfigDuration::seconds(1),
        }
    }
}
