//! `[websocket.uploads]` of `config.toml`.

use serde::Deserialize;

use crate::auth::settings::TicketPath;
use crate::core::units::{ByteSize, ConfigDuration, PositiveCount};

/// How attachments are taken and passed on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where Laravel takes a ticket's messages with their attachments.
    pub path: TicketPath,
    /// The form field of the file.
    pub file_field: FieldName,
    /// The form field of the text.
    pub message_field: FieldName,
    /// The longest file.
    pub max_size: ByteSize,
    /// The bytes of each binary frame but the last of a file, header not counted.
    pub chunk_size: ByteSize,
    /// What of one upload may be on its way to Laravel, and so in memory.
    pub window_size: ByteSize,
    /// Uploads of one session at once.
    pub max_per_session: PositiveCount,
    /// Uploads of one user at once, interrupted ones included.
    pub max_per_user: PositiveCount,
    /// Uploads at once in all: each is a request to Laravel.
    pub max_concurrent: PositiveCount,
    /// Bytes per second and client that are passed on.
    pub bytes_per_second: ByteSize,
    /// How long nothing may move.
    pub idle_timeout: ConfigDuration,
    /// How long an upload waits for a client whose connection broke.
    pub resume_timeout: ConfigDuration,
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
pub struct FieldName(String);

impl FieldName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FieldName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.[]".contains(&b);
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
            Ok(Self(text))
        } else {
            Err(format!(
                r#"{text:?} is not the name of a form field; expected one such as "attachment""#
            ))
        }
    }
}
