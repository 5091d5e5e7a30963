//! Decodes the text of a client into a command.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::CommandError;
use super::payload::read;
use super::resume::{self, TicketJoin};
use super::upload::{self, UploadCommand};
use crate::core::ids::{ChannelName, RoomName, RowId};
use crate::rooms::Since;

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Joins the room of a ticket or a channel.
    Join {
        /// The room.
        room: RoomName,
        /// The client's last position in the room, if it returns.
        since: Option<Since>,
    },
    /// Joins the rooms of many tickets, each as `Join` does.
    Resume(Vec<TicketJoin>),
    /// Leaves the room of a ticket or a channel.
    Leave(RoomName),
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
            Self::Join { room, .. } => match room {
                RoomName::Ticket(_) => "join_ticket",
                RoomName::Channel(_) => "join",
            },
            Self::Resume(_) => "resume",
            Self::Leave(RoomName::Ticket(_)) => "leave_ticket",
            Self::Leave(RoomName::Channel(_)) => "leave",
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
struct Channel {
    channel: ChannelName,
}

#[derive(Deserialize)]
struct JoinChannel {
    channel: ChannelName,
    /// As in [`Join`].
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
            room: RoomName::Ticket(join.ticket_id),
        }),
        "resume" => resume::decode(payload).map(Command::Resume),
        "leave_ticket" => read("leave_ticket", payload, TICKET)
            .map(|Ticket { ticket_id }| Command::Leave(RoomName::Ticket(ticket_id))),
        "join" => read("join", payload, CHANNEL).map(|join: JoinChannel| Command::Join {
            since: resume::since(&join.since),
            room: RoomName::Channel(join.channel),
        }),
        "leave" => read("leave", payload, CHANNEL)
            .map(|Channel { channel }| Command::Leave(RoomName::Channel(channel))),
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
const CHANNEL: &str = "\"channel\", a name of 1 to 200 letters, digits and characters of -_=@,.;";
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
        let join = Command::Join {
            room: RoomName::ticket(id(7)),
            since: None,
        };
        assert_eq!(decode(text), Ok(join));
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
    fn channels_are_joined_and_left_by_their_names() {
        let room = || RoomName::parse("channel/private-desk").unwrap();
        let join = |since| Command::Join {
            room: room(),
            since,
        };
        for (since, expected) in [
            ("", None),
            (r#","since":null"#, None),
            (r#","since":7"#, Some(Since::Invalid)),
            (
                r#","since":"kQzVbTfa.57""#,
                "kQzVbTfa.57".parse().ok().map(Since::Position),
            ),
        ] {
            let text =
                format!(r#"{{"type":"join","payload":{{"channel":"private-desk"{since}}}}}"#);
            assert_eq!(decode(&text), Ok(join(expected)), "{text}");
        }
        assert_eq!(
            decode(r#"{"type":"leave","payload":{"channel":"private-desk"}}"#),
            Ok(Command::Leave(room()))
        );
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
            (r#"{"type":"join"}"#, "invalid_payload"),
            (
                r#"{"type":"join","payload":{"ticket_id":1}}"#,
                "invalid_payload",
            ),
            (
                r#"{"type":"join","payload":{"channel":"a b"}}"#,
                "invalid_payload",
            ),
            (
                r#"{"type":"leave","payload":{"channel":7}}"#,
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
