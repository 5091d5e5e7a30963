//! The `[rooms]` table of `config.toml`.

use serde::Deserialize;

use crate::core::units::ConfigDuration;

/// The settings of presence and typing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a user whose connection went away still counts as present, so
    /// that a page reload or a tunnel does not flicker.
    pub presence_timeout: ConfigDuration,
    /// How long typing stays on without a new sign of it.
    pub typing_timeout: ConfigDuration,
    /// How often at most the others are told that somebody types.
    pub typing_interval: ConfigDuration,
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
