//! A session's place in a room.

use std::sync::Arc;

use super::history::{Recovery, Since};
use super::room::Room;
use super::{Audience, Delivered, EventKind, Outbox, PresentUser, Publication, Rooms};
use crate::core::ids::{SessionId, UserId};

/// A session's place in a room, which ends by [`Membership::leave`] or
/// [`Membership::disconnect`]. Dropped without either, as by a panic of its session, it is
/// disconnected by a task of its own.
#[derive(Debug)]
pub(crate) struct Membership {
    rooms: Arc<Rooms>,
    room: Arc<Room>,
    session: SessionId,
    has_left: bool,
}

impl Membership {
    /// Creates the place of `session` in `room`, which it has entered.
    pub(super) fn new(rooms: Arc<Rooms>, room: Arc<Room>, session: SessionId) -> Self {
        Self {
            rooms,
            room,
            session,
            has_left: false,
        }
    }

    /// Returns the users who are present, the session's own included.
    pub(crate) fn users(&self) -> Vec<PresentUser> {
        self.room.users()
    }

    /// Publishes that this session's user types, or stopped; sets the timer that ends typing.
    pub(crate) fn typing(&self, on: bool) {
        let settings = &self.rooms.settings;
        if let Some((due, timer)) = self.room.typing(self.session, on, settings) {
            let room = self.room.name().clone();
            self.rooms.deadlines.add(due, (room, timer));
        }
    }

    /// Queues an event of this session's user to the members in `audience`.
    pub(crate) fn publish(&self, kind: EventKind, audience: Audience) -> Delivered {
        let publication = Publication::new(self.room.name().clone(), kind, audience);
        self.room.deliver(publication)
    }

    /// Queues to this session, of `user`, what its client has missed from `since` to the offset
    /// `until` at which the session joined. It follows the live events so far. Returns what the
    /// replay counts from, too.
    pub(crate) fn replay(
        &self,
        since: Since,
        until: u64,
        user: &UserId,
        outbox: &Outbox,
    ) -> (Recovery, Since) {
        let history = self.rooms.history.as_ref();
        self.room.replay(history, since, until, user, outbox)
    }

    /// Leaves for good: the others hear it at once, unless the user has another session here.
    pub(crate) fn leave(mut self) {
        self.has_left = true;
        self.rooms.exit(&self.room, self.session, None);
    }

    /// Leaves because the connection ends: the others hear it after a grace, unless the user
    /// returns.
    pub(crate) fn disconnect(mut self) {
        self.has_left = true;
        let grace = self.rooms.presence_timeout();
        self.rooms.exit(&self.room, self.session, Some(grace));
    }
}

/// Publishes nothing itself: a destructor may run in the middle of a panic or under a lock.
impl Drop for Membership {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let (rooms, room, session) = (
            Arc::clone(&self.rooms),
            Arc::clone(&self.room),
            self.session,
        );
        self.rooms.drain.spawn_on_drop(async move {
            rooms.exit(&room, session, Some(rooms.presence_timeout()));
        });
    }
}
