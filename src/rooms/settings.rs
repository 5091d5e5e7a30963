//! `[rooms]` of `config.toml`.

use serde::Deserialize;

use crate::units::Span;

/// How presence and typing behave.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a user whose connection went away still counts as present, so
    /// that a page reload or a tunnel does not flicker.
    pub presence_grace: Span,
    /// How long typing stays on without a new sign of it.
    pub typing_timeout: Span,
    /// How often at most the others are told that somebody types.
    pub typing_interval: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            presence_grace: Span::seconds(8),
            typing_timeout: Span::seconds(6),
            typing_interval: Span::seconds(1),
        }
    }
}
