//! An event on its way to the members of a room, and the choice of those who get it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::PresentUser;
use crate::auth::User;
use crate::core::ids::{RoomName, RowId, SessionId, UserId};
use crate::core::position::Position;

/// The protocol that a session speaks with its client. The sessions in one room may speak
/// different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The support desk's own protocol.
    Desk,
    /// The Pusher protocol.
    Pusher,
}

impl Wire {
    const COUNT: usize = 2;
}

/// An event for the members of one room. All of them share it, and those of one protocol its
/// encoded frame.
#[derive(Debug)]
pub struct Publication {
    room: RoomName,
    kind: EventKind,
    audience: Audience,
    frames: [OnceLock<Bytes>; Wire::COUNT],
    created_at: Instant,
    position: Option<Position>,
}

/// An event of Laravel, to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The room whose members get it.
    pub room: RoomName,
    /// The JSON text that the client gets.
    pub text: String,
    /// The members that get it.
    pub audience: Audience,
    /// The users that Laravel wants to reach, if it wants to know who is absent.
    pub to: Option<Vec<UserId>>,
}

/// The kind of an event, with its content.
#[derive(Debug)]
pub enum EventKind {
    /// An event from Laravel: the JSON text that the client gets.
    Broadcast(String),
    /// A user has seen a message.
    Seen {
        /// The user.
        user: UserId,
        /// The message's row id.
        message: RowId,
    },
    /// A user began to type, still types, or stopped.
    Typing {
        /// The user.
        user: User,
        /// Whether the user is typing now.
        on: bool,
    },
    /// An event that a client has published to a channel.
    Client {
        /// Its name.
        event: String,
        /// The JSON of its data, if there is any.
        data: Option<Box<RawValue>>,
        /// The JSON of the user's id, in a presence channel.
        user: Option<Arc<RawValue>>,
    },
    /// A user became present: their first session entered.
    UserJoined(PresentUser),
    /// A user is no longer present: their last session left for good, or its grace passed.
    UserLeft(PresentUser),
}

/// The members of a room that get a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every session.
    All,
    /// Every session but the one that caused it.
    AllBut(SessionId),
    /// Every session but this one, unless it is known to belong to another user.
    AllButOwn(SessionId, UserId),
    /// Every session of every other user.
    OthersThan(UserId),
}

impl Broadcast {
    /// Returns the publication of this event, as of now.
    pub(super) fn into_publication(self) -> Publication {
        let kind = EventKind::Broadcast(self.text);
        Publication::new(self.room, kind, self.audience)
    }
}

impl Publication {
    /// Creates a publication, as of now.
    pub fn new(room: RoomName, kind: EventKind, audience: Audience) -> Self {
        Self {
            room,
            kind,
            audience,
            frames: Default::default(),
            created_at: Instant::now(),
            position: None,
        }
    }

    /// Gives it the position that clients get with it.
    pub(super) fn at(self, position: Position) -> Self {
        Self {
            position: Some(position),
            ..self
        }
    }

    /// Returns a copy for a session that returns, created now. It shares the encoded frame.
    pub(super) fn replayed(&self) -> Self {
        let EventKind::Broadcast(text) = &self.kind else {
            unreachable!("only broadcasts are kept")
        };
        Self {
            room: self.room.clone(),
            kind: EventKind::Broadcast(text.clone()),
            audience: Audience::All,
            frames: self.frames.clone(),
            created_at: Instant::now(),
            position: self.position,
        }
    }

    /// Returns its position; only broadcasts have one, and only with a history.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns the bytes that it takes while a room keeps it: its text, and usually one frame.
    pub(super) fn memory(&self) -> usize {
        2 * self.size()
    }

    /// Returns the time at which it was created.
    pub(crate) fn created_at(&self) -> Instant {
        self.created_at
    }

    /// Returns the room that it is for.
    pub(crate) fn room(&self) -> &RoomName {
        &self.room
    }

    /// Returns its kind and content.
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// Returns the encoded frame of `wire`. The first call makes it by `encode`; later calls
    /// share it.
    pub fn frame(&self, wire: Wire, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let frame = &self.frames[wire as usize];
        frame.get_or_init(|| encode(self)).clone()
    }

    /// Returns whether it may be dropped for a session whose queue fills up. The end of a
    /// state never is: typing would stay on, and a user who left would stay present.
    pub(super) fn is_ephemeral(&self) -> bool {
        match self.kind {
            EventKind::Typing { on, .. } => on,
            EventKind::UserJoined(_) | EventKind::Client { .. } => true,
            EventKind::UserLeft(_) | EventKind::Broadcast(_) | EventKind::Seen { .. } => false,
        }
    }

    /// Returns the bytes that it counts for in a queue, about the length of its text.
    pub(super) fn size(&self) -> usize {
        match &self.kind {
            EventKind::Broadcast(text) => text.len(),
            EventKind::Client { data, .. } => {
                NOMINAL_EVENT_BYTES + data.as_ref().map_or(0, |data| data.get().len())
            }
            _ => NOMINAL_EVENT_BYTES,
        }
    }

    /// Returns whether `session`, of `user` if that is known, gets it.
    pub(super) fn is_for(&self, session: SessionId, user: Option<&UserId>) -> bool {
        match &self.audience {
            Audience::All => true,
            Audience::AllBut(origin) => *origin != session,
            Audience::AllButOwn(origin, owner) => {
                *origin != session || user.is_some_and(|user| user != owner)
            }
            Audience::OthersThan(origin) => user != Some(origin),
        }
    }
}

/// The size in bytes that the edge's own short events count for.
const NOMINAL_EVENT_BYTES: usize = 128;
