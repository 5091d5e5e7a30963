//! The presence and typing state of one user in a room.

use tokio::time::Instant;

use super::{PresentUser, Rooms};
use crate::core::ids::{RoomName, SessionId, UserId};

/// A user who counts as present.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) user: PresentUser,
    pub(super) sessions: usize,
    /// The end of the grace, if all of the user's sessions were lost.
    pub(super) leaving: Option<Instant>,
    /// None until the user first types. Boxed, for most users read only.
    pub(super) typing: Option<Box<TypingState>>,
}

/// A user's typing in one room.
#[derive(Debug, Default)]
pub(super) struct TypingState {
    pub(super) now: Option<Typing>,
    /// The time at which the user's one timer fires, if it is set.
    pub(super) timer: Option<Instant>,
    /// The time at which the others last heard that the user types.
    pub(super) sent_at: Option<Instant>,
}

/// The session that types, and the time at which typing ends by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typing {
    pub(super) session: SessionId,
    pub(super) until: Instant,
}

impl Presence {
    /// Returns the session that types, if one does.
    pub(super) fn typing(&self) -> Option<Typing> {
        self.typing.as_ref()?.now
    }
}

impl Rooms {
    /// Returns whether `user` may be present in a room of at most `max_users`. Several who ask
    /// at the same moment may together exceed it.
    pub(crate) fn has_space_for(&self, room: &RoomName, user: &UserId, max_users: usize) -> bool {
        self.find(room)
            .is_none_or(|room| room.has_space_for(user, max_users))
    }
}
