//! What is said in a room.

use std::sync::OnceLock;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use crate::auth::User;
use crate::core::ids::{RoomName, RowId, SessionId, UserId};

/// One event on its way to a room's members, shared by all of them.
#[derive(Debug)]
pub struct Publication {
    room: RoomName,
    what: EventKind,
    audience: Audience,
    frame: OnceLock<Bytes>,
    born: Instant,
}

/// The kinds of events.
#[derive(Debug)]
pub enum EventKind {
    /// An event from Laravel, as the browser will see it.
    Broadcast(Utf8Bytes),
    /// A message was seen.
    Seen {
        /// By whom.
        user: UserId,
        /// Which one.
        message: RowId,
    },
    /// A user began to type, still types, or stopped.
    Typing {
        /// Who.
        user: User,
        /// Whether he types.
        on: bool,
    },
    /// A user's first session entered.
    UserJoined(User),
    /// A user's last session left.
    UserLeft(UserId),
}

/// Who in the room gets a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every session.
    All,
    /// Every session but one: the one that caused it.
    AllBut(SessionId),
    /// The same, but only if the session is the user's: else every session.
    AllButOwn(SessionId, UserId),
    /// Every session of every other user.
    OthersThan(UserId),
}

impl Publication {
    /// A publication that nobody has got yet.
    pub fn new(room: RoomName, what: EventKind, audience: Audience) -> Self {
        Self {
            room,
            what,
            audience,
            frame: OnceLock::new(),
            born: Instant::now(),
        }
    }

    /// When it was published.
    pub fn created_at(&self) -> Instant {
        self.born
    }

    /// Where it goes.
    pub fn room(&self) -> RoomName {
        self.room
    }

    /// What it says.
    pub fn kind(&self) -> &EventKind {
        &self.what
    }

    /// The frame that carries it, made by `encode` at the first call and shared
    /// from then on.
    pub fn frame(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.frame.get_or_init(|| encode(self)).clone()
    }

    /// Whether it may be dropped for a receiver that falls behind. What ends
    /// something may not: typing would stay on, who left would stay present.
    pub(super) fn is_ephemeral(&self) -> bool {
        match self.what {
            EventKind::Typing { on, .. } => on,
            EventKind::UserJoined(_) => true,
            EventKind::UserLeft(_) | EventKind::Broadcast(_) | EventKind::Seen { .. } => false,
        }
    }

    /// About how many bytes it holds of a queue.
    pub(super) fn size(&self) -> usize {
        match &self.what {
            EventKind::Broadcast(text) => text.as_str().len(),
            _ => NOMINAL_EVENT_BYTES,
        }
    }

    pub(super) fn is_for(&self, session: SessionId, user: &UserId) -> bool {
        match &self.audience {
            Audience::All => true,
            Audience::AllBut(origin) => *origin != session,
            Audience::AllButOwn(origin, owner) => *origin != session || owner != user,
            Audience::OthersThan(origin) => origin != user,
        }
    }
}

/// The size that our own short events count for, in bytes.
const NOMINAL_EVENT_BYTES: usize = 128;
