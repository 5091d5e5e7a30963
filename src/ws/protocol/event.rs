//! From an event to the text that a client gets.

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use crate::auth::User;
use crate::core::ids::{RowId, SessionId, UserId};
use crate::rooms::{EventKind, Publication};

/// What a session says to its own client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The client is who its token says.
    Connection {
        /// Always `connected`.
        status: &'static str,
        /// Who it is.
        user_id: &'a UserId,
        /// What it sends as `X-Socket-ID`, to be left out of its own broadcasts.
        #[serde(serialize_with = "as_text")]
        session_id: SessionId,
        /// For people.
        message: &'static str,
    },
    /// The client is in the room.
    TicketJoined {
        /// Which.
        ticket_id: RowId,
        /// Who is here, oneself included.
        users: Vec<Present<'a>>,
    },
    /// The answer to `ping`.
    Pong {
        /// Seconds since 1970.
        timestamp: u64,
    },
    /// Something was not done.
    Error {
        /// For people.
        message: &'a str,
        /// For programs.
        code: &'a str,
        /// About which ticket, if about one.
        #[serde(skip_serializing_if = "Option::is_none")]
        ticket_id: Option<RowId>,
        /// About which upload, if about one. That goes on as before.
        #[serde(skip_serializing_if = "Option::is_none")]
        upload_id: Option<&'a str>,
    },
    /// The client may send a file, or go on with it.
    UploadReady {
        /// Which.
        upload_id: &'a str,
        /// What stands for it in binary frames.
        upload: u32,
        /// The bytes in each of them but the last.
        chunk_size: u64,
        /// How far the client may be ahead of `received`.
        window: u64,
        /// Where to go on.
        offset: u64,
        /// Bytes that have left for Laravel.
        received: u64,
    },
    /// More has left for Laravel.
    UploadProgress {
        /// Of which upload.
        upload_id: &'a str,
        /// Bytes that have left for Laravel.
        received: u64,
    },
    /// Laravel has taken the file.
    UploadDone {
        /// Which.
        upload_id: &'a str,
        /// Laravel's status.
        status: u16,
        /// Laravel's answer.
        response: Option<&'a RawValue>,
    },
    /// An upload is over without that.
    UploadFailed {
        /// Which.
        upload_id: &'a str,
        /// For programs.
        code: &'a str,
        /// For people.
        message: &'a str,
        /// Laravel's status, if it answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Laravel's errors by field, if it told some.
        #[serde(skip_serializing_if = "Option::is_none")]
        errors: Option<&'a RawValue>,
    },
}

/// Somebody in a room.
#[derive(Debug, Serialize)]
pub struct Present<'a> {
    user_id: &'a UserId,
    user_name: &'a str,
}

impl<'a> From<&'a User> for Present<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            user_id: user.id(),
            user_name: user.name(),
        }
    }
}

impl Event<'_> {
    /// The `type` that clients see.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connection { .. } => "connection",
            Self::TicketJoined { .. } => "ticket_joined",
            Self::Pong { .. } => "pong",
            Self::Error { .. } => "error",
            Self::UploadReady { .. } => "upload_ready",
            Self::UploadProgress { .. } => "upload_progress",
            Self::UploadDone { .. } => "upload_done",
            Self::UploadFailed { .. } => "upload_failed",
        }
    }

    /// The text of this event.
    pub fn text(&self) -> Utf8Bytes {
        to_text(self)
    }
}

/// What is said in rooms, besides what Laravel says.
#[derive(Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
enum RoomEvent<'a> {
    MessageStatusUpdate {
        message_id: RowId,
        status: &'static str,
        user_id: &'a UserId,
        ticket_id: RowId,
    },
    TypingIndicator {
        ticket_id: RowId,
        user_id: &'a UserId,
        user_name: &'a str,
        is_typing: bool,
    },
    UserJoined {
        user_id: &'a UserId,
        user_name: &'a str,
        ticket_id: RowId,
    },
    UserLeft {
        user_id: &'a UserId,
        ticket_id: RowId,
    },
}

/// The frame of a publication, made once and shared by all who get it.
pub fn frame(publication: &Publication) -> Bytes {
    let text = publication_text(publication);
    let mut frame = Vec::with_capacity(text.len() + MAX_FRAME_HEADER_BYTES);
    Frame::message(text, OpCode::Data(Data::Text), true)
        .format(&mut frame)
        .expect("a Vec takes all");
    frame.into()
}

fn publication_text(publication: &Publication) -> Utf8Bytes {
    let ticket_id = publication.room().ticket_id();
    match publication.kind() {
        EventKind::Broadcast(text) => text.clone(),
        EventKind::Seen { user, message } => to_text(&RoomEvent::MessageStatusUpdate {
            message_id: *message,
            status: "seen",
            user_id: user,
            ticket_id,
        }),
        EventKind::Typing { user, on } => to_text(&RoomEvent::TypingIndicator {
            ticket_id,
            user_id: user.id(),
            user_name: user.name(),
            is_typing: *on,
        }),
        EventKind::UserJoined(user) => to_text(&RoomEvent::UserJoined {
            user_id: user.id(),
            user_name: user.name(),
            ticket_id,
        }),
        EventKind::UserLeft(user) => to_text(&RoomEvent::UserLeft {
            user_id: user,
            ticket_id,
        }),
    }
}

/// The `type` of a publication. Laravel chooses its own, as many as it likes: they
/// are one here.
pub fn publication_type(publication: &Publication) -> &'static str {
    match publication.kind() {
        EventKind::Broadcast(_) => "broadcast",
        EventKind::Seen { .. } => "message_status_update",
        EventKind::Typing { .. } => "typing_indicator",
        EventKind::UserJoined(_) => "user_joined",
        EventKind::UserLeft(_) => "user_left",
    }
}

fn to_text(value: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(value)
        .expect("these types have text keys only")
        .into()
}

fn as_text<S: serde::Serializer>(id: &SessionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Of a frame that is not masked (RFC 6455 §5.2).
const MAX_FRAME_HEADER_BYTES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::RoomName;
    use crate::rooms::Audience;

    #[test]
    fn events_read_as_the_protocol_says() {
        let ana = User::for_test(3);
        let seven = RowId::new(7).unwrap();
        let joined = Event::TicketJoined {
            ticket_id: seven,
            users: vec![(&ana).into()],
        };
        assert_eq!(
            joined.text().as_str(),
            r#"{"type":"ticket_joined","payload":{"ticket_id":7,"users":[{"user_id":3,"user_name":"user3"}]}}"#
        );
        let error = Event::Error {
            message: "no",
            code: "denied",
            ticket_id: None,
            upload_id: None,
        };
        assert_eq!(
            error.text().as_str(),
            r#"{"type":"error","payload":{"message":"no","code":"denied"}}"#
        );
    }

    #[test]
    fn what_is_said_in_rooms_reads_as_the_protocol_says() {
        let room = RoomName::ticket(RowId::new(7).unwrap());
        let said =
            |what| publication_text(&Publication::new(room, what, Audience::All)).to_string();
        let typing = EventKind::Typing {
            user: User::for_test(3),
            on: true,
        };
        assert_eq!(
            said(typing),
            r#"{"type":"typing_indicator","payload":{"ticket_id":7,"user_id":3,"user_name":"user3","is_typing":true}}"#
        );
        let seen = EventKind::Seen {
            user: UserId::Number(3),
            message: RowId::new(14).unwrap(),
        };
        assert_eq!(
            said(seen),
            r#"{"type":"message_status_update","payload":{"message_id":14,"status":"seen","user_id":3,"ticket_id":7}}"#
        );
    }
}
