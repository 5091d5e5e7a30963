//! Decodes the text of a client into a command.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::CommandError;
use super::payload::read;
use super::resume::{self, TicketJoin};
use super::upload::{self, UploadCommand};
use crate::core::ids::RowId;
use crate::rooms::Since;

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Joins the room of a ticket.
    Join {
        /// The ticket.
        ticket: RowId,
        /// The client's last position in the room, if it returns.
        since: Option<Since>,
    },
    /// Joins the rooms of many tickets, each as `Join` does.
    Resume(Vec<TicketJoin>),
    /// Leaves the room of a ticket.
    Leave(RowId),
    /// Publishes that the user types, or stopped.
    Typing {
        /// The ticket whose room gets it.
        ticket: RowId,
        /// Whether the user is typing now.
        on: bool,
    },
    /// Publishes that the user has seen a message.
    Seen {
        /// The message's row id.
        message: RowId,
        /// The ticket whose room gets it; without it, the only room of the session.
        ticket: Option<RowId>,
    },
    /// Starts, resumes or cancels an upload.
    Upload(UploadCommand),
    /// Asks for a `pong` event.
    Ping,
}

impl Command {
    /// Returns the command's `type` in the protocol.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join_ticket",
            Self::Resume(_) => "resume",
            Self::Leave(_) => "leave_ticket",
            Self::Typing { .. } => "typing_indicator",
            Self::Seen { .. } => "message_seen",
            Self::Ping => "ping",
            Self::Upload(UploadCommand::Start(_)) => "upload_start",
            Self::Upload(UploadCommand::Resume(_)) => "upload_resume",
            Self::Upload(UploadCommand::Cancel(_)) => "upload_cancel",
        }
    }
}

/// A message of a client; other fields are ignored.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Ticket {
    ticket_id: RowId,
}

#[derive(Deserialize)]
struct Join {
    ticket_id: RowId,
    #[serde(default)]
    since: serde_json::Value,
}

#[derive(Deserialize)]
struct Typing {
    ticket_id: RowId,
    #[serde(default)]
    is_typing: bool,
}

#[derive(Deserialize)]
struct Seen {
    message_id: RowId,
    #[serde(default)]
    ticket_id: Option<RowId>,
}

/// Decodes one text frame. Unknown fields are ignored.
///
/// # Errors
/// Any variant of [`CommandError`].
pub fn decode(text: &str) -> Result<Command, CommandError> {
    if !text.trim_start().starts_with('{') {
        return Err(CommandError::NotJson);
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| CommandError::NotJson)?;
    let raw_kind = envelope.kind.ok_or(CommandError::NoType)?;
    let kind: Cow<'_, str> =
        serde_json::from_str(raw_kind.get()).map_err(|_| CommandError::NoType)?;
    let payload = envelope.payload.map_or("null", RawValue::get);
    match &*kind {
        "join_ticket" => read("join_ticket", payload, TICKET).map(|join: Join| Command::Join {
            since: resume::since(&join.since),
            ticket: join.ticket_id,
        }),
        "resume" => resume::decode(payload).map(Command::Resume),
        "leave_ticket" => read("leave_ticket", payload, TICKET)
            .map(|Ticket { ticket_id }| Command::Leave(ticket_id)),
        "typing_indicator" => {
            read("typing_indicator", payload, TYPING).map(|typing: Typing| Command::Typing {
                ticket: typing.ticket_id,
                on: typing.is_typing,
            })
        }
        "message_seen" => read("message_seen", payload, SEEN).map(|seen: Seen| Command::Seen {
            message: seen.message_id,
            ticket: seen.ticket_id,
        }),
        "ping" => Ok(Command::Ping),
        kind => match upload::decode(kind, payload) {
            Some(command) => command.map(Command::Upload),
            None => Err(CommandError::UnknownType),
        },
    }
}

const TICKET: &str = "\"ticket_id\", a positive whole number";
const TYPING: &str = "\"ticket_id\", a positive whole number, and \"is_typing\", true or false";
const SEEN: &str =
    "\"message_id\" and, if the session is in several rooms, \"ticket_id\", positive whole numbers";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(id: u64) -> RowId {
        RowId::new(id).unwrap()
    }

    #[test]
    fn commands_of_the_old_client_are_decoded() {
        let text = r#"{"type":"join_ticket","payload":{"ticket_id":7},"timestamp":"2026-11-23T00:00:00Z"}"#;
        let join = |since| Command::Join {
            ticket: id(7),
            since,
        };
        assert_eq!(decode(text), Ok(join(None)));
        let text = r#"{"type":"message_seen","payload":{"message_id":"14"},"timestamp":1}"#;
        let seen = Command::Seen {
            message: id(14),
            ticket: None,
        };
        assert_eq!(decode(text), Ok(seen));
        let text = r#"{"type":"typing_indicator","payload":{"ticket_id":"7","is_typing":true}}"#;
        let typing = Command::Typing {
            ticket: id(7),
            on: true,
        };
        assert_eq!(decode(text), Ok(typing));
        assert_eq!(decode(r#"{"type":"ping"}"#), Ok(Command::Ping));
    }

    #[test]
    fn invalid_command_has_its_error_code() {
        for (text, code) in [
            ("", "invalid_json"),
            ("hello", "invalid_json"),
            ("\"ping\"", "invalid_json"),
            ("[\"ping\"]", "invalid_json"),
            ("null", "invalid_json"),
            ("{", "invalid_json"),
            (r#"{"type":"ping","type":"ping"}"#, "invalid_json"),
            ("{}", "missing_type"),
            (r#"{"type":null}"#, "missing_type"),
            (r#"{"type":["ping"]}"#, "missing_type"),
            (r#"{"type":"dance"}"#, "unknown_type"),
            (
                r#"{"type":"new_message","payload":{"ticket_id":1}}"#,
                "unknown_type",
            ),
            (r#"{"type":"join_ticket"}"#, "invalid_payload"),
            (r#"{"type":"join_ticket","payload":[1]}"#, "invalid_payload"),
            (
                r#"{"type":"join_ticket","payload":{"ticket_id":[1]}}"#,
                "invalid_payload",
            ),
            (
                r#"{"type":"join_ticket","payload":{"ticket_id":"1;2"}}"#,
                "invalid_payload",
            ),
            (
                r#"{"type":"typing_indicator","payload":{"ticket_id":1,"is_typing":"<b>"}}"#,
                "invalid_payload",
            ),
            (
                r#"{"type":"message_seen","payload":{"message_id":"no-such"}}"#,
                "invalid_payload",
            ),
        ] {
            assert_eq!(decode(text).unwrap_err().code(), code, "{text}");
        }
    }

    proptest! {
        #[test]
        fn decode_of_arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = decode(&text);
        }
    }
}
