//! The mistakes in a client's text.

use crate::core::ids::RowId;

/// The mistake in a client's text. `Display` is for the developer of the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The text is no JSON object.
    #[error("expected a JSON object such as {{\"type\":\"ping\",\"payload\":{{}}}}")]
    NotJson,
    /// The `type` is missing or no string.
    #[error("the message has no \"type\"")]
    NoType,
    /// The `type` is unknown.
    #[error(
        "unknown type; expected one of join_ticket, resume, leave_ticket, join, leave, typing_indicator, \
         message_seen, upload_start, upload_resume, upload_cancel, ping"
    )]
    UnknownType,
    /// The `payload` does not fit the type.
    #[error("{0} needs a payload with {1}")]
    Payload(&'static str, &'static str),
    /// A name in `tickets` is no ticket's id.
    #[error("resume names the ticket {0:?}; expected a positive whole number of at most 19 digits")]
    NotATicket(String),
    /// A ticket occurs twice in `tickets`.
    #[error("resume names the ticket {0} twice")]
    RepeatedTicket(RowId),
}

impl CommandError {
    /// Returns the code in the `error` event.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson => "invalid_json",
            Self::NoType => "missing_type",
            Self::UnknownType => "unknown_type",
            Self::Payload(..) | Self::NotATicket(_) | Self::RepeatedTicket(_) => "invalid_payload",
        }
    }
}
