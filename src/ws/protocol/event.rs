//! Encodes events as the text, and publications as the frame, that clients get.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use crate::core::ids::{ChannelName, RoomName, RowId, SessionId, UserId};
use crate::core::position::Position;
use crate::rooms::{EventKind, PresentUser, Publication, Recovery};
use crate::ws::text_frame::{ping_frame, text_frame};

/// An event from a session to its own client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// The session is open.
    Connection {
        /// Always `connected`.
        status: &'static str,
        /// The id of the token's user.
        user_id: &'a UserId,
        /// The id that the client sends as `X-Socket-ID`, to be left out of its own broadcasts.
        #[serde(serialize_with = "as_text")]
        session_id: SessionId,
        /// A text for people.
        message: &'static str,
    },
    /// The session has joined the room of a ticket.
    TicketJoined {
        /// The id of the ticket.
        ticket_id: RowId,
        /// The users who are present, the session's own included.
        users: Vec<Present<'a>>,
        /// The position to give as `since` after a disconnect, if there is a history.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<String>,
        /// Whether the events that the client has missed follow, if it sent `since`.
        #[serde(flatten)]
        recovery: Option<Recovered>,
    },
    /// The session has joined a channel.
    Joined {
        /// The name of the channel.
        channel: &'a ChannelName,
        /// The users who are present, the session's own included; none without presence.
        #[serde(skip_serializing_if = "Option::is_none")]
        users: Option<Vec<Present<'a>>>,
        /// The position to give as `since` after a disconnect, if there is a history.
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<String>,
        /// Whether the events that the client has missed follow, if it sent `since`.
        #[serde(flatten)]
        recovery: Option<Recovered>,
    },
    /// The response to `ping`.
    Pong {
        /// The time in seconds since the Unix epoch.
        timestamp: u64,
    },
    /// A command or the session itself failed.
    Error {
        /// A text for people.
        message: &'a str,
        /// A code for programs.
        code: &'a str,
        /// The ticket or channel that the error is about, if any.
        #[serde(flatten)]
        room: Option<RoomField<'a>>,
        /// The upload that the error is about, if any. The upload itself continues.
        #[serde(skip_serializing_if = "Option::is_none")]
        upload_id: Option<&'a str>,
    },
    /// The client may send a file, or resume it.
    UploadReady {
        /// The client's id of the upload.
        upload_id: &'a str,
        /// The number of the upload in binary frames.
        upload: u32,
        /// The bytes of the file in each binary frame but the last.
        chunk_size: u64,
        /// The bytes that the client may send beyond `received`.
        window: u64,
        /// The offset of the next chunk in the file.
        offset: u64,
        /// The bytes that have left for Laravel.
        received: u64,
    },
    /// More bytes have left for Laravel.
    UploadProgress {
        /// The client's id of the upload.
        upload_id: &'a str,
        /// The bytes that have left for Laravel.
        received: u64,
    },
    /// Laravel has accepted the file.
    UploadDone {
        /// The client's id of the upload.
        upload_id: &'a str,
        /// The status of Laravel's response.
        status: u16,
        /// The JSON of Laravel's response.
        response: Option<&'a RawValue>,
    },
    /// An upload has failed.
    UploadFailed {
        /// The client's id of the upload.
        upload_id: &'a str,
        /// A code for programs.
        code: &'a str,
        /// A text for people.
        message: &'a str,
        /// The status of Laravel's response, if there was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Laravel's errors by field, if it reported any.
        #[serde(skip_serializing_if = "Option::is_none")]
        errors: Option<&'a RawValue>,
    },
}

/// The response to `since`.
#[derive(Debug, Serialize)]
pub(crate) struct Recovered {
    /// Whether the client gets all that it has missed.
    recovered: bool,
    /// The number of these events.
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<usize>,
    /// The code of the reason why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl From<Recovery> for Recovered {
    fn from(recovery: Recovery) -> Self {
        let (missed, reason) = match recovery {
            Recovery::Complete(missed) => (Some(missed), None),
            Recovery::Incomplete(gap) => (None, Some(gap.name())),
        };
        Self {
            recovered: missed.is_some(),
            missed,
            reason,
        }
    }
}

/// A user who is present in a room.
#[derive(Debug, Serialize)]
pub(crate) struct Present<'a> {
    user_id: &'a UserId,
    user_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_info: Option<&'a RawValue>,
}

impl<'a> From<&'a PresentUser> for Present<'a> {
    fn from(user: &'a PresentUser) -> Self {
        Self {
            user_id: user.id(),
            user_name: user.name(),
            user_info: user.info().map(|info| &**info),
        }
    }
}

/// The field by which an event names its room: `ticket_id` or `channel`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoomField<'a> {
    TicketId(RowId),
    Channel(&'a ChannelName),
}

impl<'a> From<&'a RoomName> for RoomField<'a> {
    fn from(room: &'a RoomName) -> Self {
        match room {
            RoomName::Ticket(id) => Self::TicketId(*id),
            RoomName::Channel(name) => Self::Channel(name),
        }
    }
}

impl Event<'_> {
    /// Returns the event's `type` in the protocol.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "connection",
            Self::TicketJoined { .. } => "ticket_joined",
            Self::Joined { .. } => "joined",
            Self::Pong { .. } => "pong",
            Self::Error { .. } => "error",
            Self::UploadReady { .. } => "upload_ready",
            Self::UploadProgress { .. } => "upload_progress",
            Self::UploadDone { .. } => "upload_done",
            Self::UploadFailed { .. } => "upload_failed",
        }
    }

    /// Returns the JSON text of this event.
    pub(crate) fn text(&self) -> Utf8Bytes {
        to_text(self).into()
    }
}

/// An event to the members of a room that does not come from Laravel.
#[derive(Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
enum RoomEvent<'a> {
    MessageStatusUpdate {
        message_id: RowId,
        status: &'static str,
        user_id: &'a UserId,
        #[serde(flatten)]
        room: RoomField<'a>,
    },
    TypingIndicator {
        #[serde(flatten)]
        room: RoomField<'a>,
        user_id: &'a UserId,
        user_name: &'a str,
        is_typing: bool,
    },
    UserJoined {
        #[serde(flatten)]
        user: Present<'a>,
        #[serde(flatten)]
        room: RoomField<'a>,
    },
    UserLeft {
        user_id: &'a UserId,
        #[serde(flatten)]
        room: RoomField<'a>,
    },
}

/// An event that a Pusher client has published to a channel.
#[derive(Serialize)]
struct ClientEvent<'a> {
    r#type: &'a str,
    payload: Option<&'a RawValue>,
    #[serde(flatten)]
    room: RoomField<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a RawValue>,
}

/// Returns the encoded frame of a publication, head and text. Every session that gets the
/// publication sends these same bytes, so it is encoded once.
pub fn frame(publication: &Publication) -> Bytes {
    text_frame(&publication_text(publication))
}

/// Returns the encoded frame of a ping. Its `payload` has at most 125 bytes (RFC 6455 §5.5).
pub fn ping(payload: &[u8]) -> Bytes {
    ping_frame(payload)
}

/// Returns the text of a publication.
pub(in crate::ws) fn publication_text(publication: &Publication) -> Cow<'_, str> {
    let room = RoomField::from(publication.room());
    let event = match publication.kind() {
        EventKind::Broadcast(text) => return with_position(text, publication.position()),
        EventKind::Client { event, data, user } => {
            return Cow::Owned(to_text(&ClientEvent {
                r#type: event,
                payload: data.as_deref(),
                room,
                user_id: user.as_deref(),
            }));
        }
        EventKind::Seen { user, message } => RoomEvent::MessageStatusUpdate {
            message_id: *message,
            status: "seen",
            user_id: user,
            room,
        },
        EventKind::Typing { user, on } => RoomEvent::TypingIndicator {
            room,
            user_id: user.id(),
            user_name: user.name(),
            is_typing: *on,
        },
        EventKind::UserJoined(user) => RoomEvent::UserJoined {
            user: user.into(),
            room,
        },
        EventKind::UserLeft(user) => RoomEvent::UserLeft {
            user_id: user.id(),
            room,
        },
    };
    Cow::Owned(to_text(&event))
}

/// Adds its position to the object `text`, as the last member.
fn with_position(text: &str, position: Option<Position>) -> Cow<'_, str> {
    match (position, text.strip_suffix('}')) {
        (Some(position), Some(object)) => {
            Cow::Owned(format!(r#"{object},"position":"{position}"}}"#))
        }
        _ => Cow::Borrowed(text),
    }
}

/// Serializes an event as the text of a frame.
fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("events have string keys only, so their JSON never fails")
}

/// Serialises a session id as a string.
fn as_text<S: serde::Serializer>(id: &SessionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::User;
    use crate::rooms::Audience;

    #[test]
    fn events_are_encoded_as_documented() {
        let ana = PresentUser::for_test(User::for_test(3), None);
        let seven = RowId::new(7).unwrap();
        let joined = Event::TicketJoined {
            ticket_id: seven,
            users: vec![(&ana).into()],
            position: None,
            recovery: None,
        };
        assert_eq!(
            joined.text().as_str(),
            r#"{"type":"ticket_joined","payload":{"ticket_id":7,"users":[{"user_id":3,"user_name":"user3"}]}}"#
        );
        let error = Event::Error {
            message: "no",
            code: "denied",
            room: None,
            upload_id: None,
        };
        assert_eq!(
            error.text().as_str(),
            r#"{"type":"error","payload":{"message":"no","code":"denied"}}"#
        );
    }

    #[test]
    fn ping_is_one_unmasked_final_frame() {
        assert_eq!(ping(&[7; 16])[..2], [0x89, 16]);
        assert_eq!(ping(&[7; 16])[2..], [7; 16]);
    }

    #[test]
    fn room_events_are_encoded_as_documented() {
        let room = RoomName::ticket(RowId::new(7).unwrap());
        let to_json = |what| {
            publication_text(&Publication::new(room.clone(), what, Audience::All)).to_string()
        };
        let typing = EventKind::Typing {
            user: User::for_test(3),
            on: true,
        };
        assert_eq!(
            to_json(typing),
            r#"{"type":"typing_indicator","payload":{"ticket_id":7,"user_id":3,"user_name":"user3","is_typing":true}}"#
        );
        let seen = EventKind::Seen {
            user: UserId::Number(3),
            message: RowId::new(14).unwrap(),
        };
        assert_eq!(
            to_json(seen),
            r#"{"type":"message_status_update","payload":{"message_id":14,"status":"seen","user_id":3,"ticket_id":7}}"#
        );
    }
}
