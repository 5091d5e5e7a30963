//! The `[websocket.uploads]` table of `config.toml`.

use serde::Deserialize;

use crate::auth::settings::TicketPath;
use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// The settings of uploads.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The path on which Laravel accepts a ticket's messages with attachments.
    pub(crate) path: TicketPath,
    /// The form field of the file.
    pub(crate) file_field: FieldName,
    /// The form field of the text.
    pub(crate) message_field: FieldName,
    /// The maximum size of a file.
    pub(crate) max_size: ByteSize,
    /// The bytes of the file in each binary frame but the last.
    pub(crate) chunk_size: ByteSize,
    /// The maximum number of bytes of one upload between client and Laravel, and so in memory.
    pub(crate) window_size: ByteSize,
    /// The maximum number of uploads of one session.
    pub(crate) max_per_session: PositiveCount,
    /// The maximum number of uploads of one user, interrupted ones included.
    pub(crate) max_per_user: PositiveCount,
    /// The maximum number of all uploads. Each is a request to Laravel.
    pub(crate) max_concurrent: PositiveCount,
    /// The rate at which the bytes of one client are passed on.
    pub(crate) bytes_per_second: ByteSize,
    /// The time without progress after which an upload fails.
    pub(crate) idle_timeout: ConfigDuration,
    /// The time for which an upload waits for a disconnected client to resume it.
    pub(crate) resume_timeout: ConfigDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: TicketPath::new("/api/support-tickets/", "/messages"),
            file_field: FieldName("attachment".to_owned()),
            message_field: FieldName("message".to_owned()),
            max_size: ByteSize::kib(10_240),
            chunk_size: ByteSize::kib(32),
            window_size: ByteSize::kib(192),
            max_per_session: PositiveCount::new(4),
            max_per_user: PositiveCount::new(8),
            max_concurrent: PositiveCount::new(500),
            bytes_per_second: ByteSize::kib(8 * 1024),
            idle_timeout: ConfigDuration::seconds(30),
            resume_timeout: ConfigDuration::seconds(60),
        }
    }
}

/// The name of a form field: letters, digits and `_-.[]`, which need no quoting.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct FieldName(String);

impl FieldName {
    /// Returns the name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FieldName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.[]".contains(&b);
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(is_allowed) {
            Ok(Self(text))
        } else {
            Err(format!(
                r#"{text:?} is not the name of a form field; expected one such as "attachment""#
            ))
        }
    }
}
