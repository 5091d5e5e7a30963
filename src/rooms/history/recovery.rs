//! The events that a returning session has missed, and the reasons why it cannot get them.

use std::sync::Arc;

use super::super::Rooms;
use super::super::publication::Publication;
use super::History;
use super::room_history::RoomHistory;
use crate::core::ids::{SessionId, UserId};
use crate::core::position::Position;

/// The last position that a returning client has of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A position of this or another edge.
    Position(Position),
    /// A value that is no position.
    Invalid,
    /// The point at which a parked session was lost: its client knows no position.
    Parked(ResumePoint),
}

/// A point in a room after which the client of a lost session may lack events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The client has all events up to this offset of the epoch of this process.
    pub offset: u64,
    /// The highest offset of all sessions that may have been this client's: what counts if the
    /// events after the lowest cannot be replayed.
    newest: u64,
    /// The lost session, if it can be no other. Events that it was not to get are not replayed.
    session: Option<SessionId>,
}

impl ResumePoint {
    /// Creates the point of a lost session.
    pub(in crate::rooms) fn new(session: SessionId, offset: u64) -> Self {
        Self {
            offset,
            newest: offset,
            session: Some(session),
        }
    }

    /// Adds the offset of another session that may have been the client's.
    pub(in crate::rooms) fn merge(&mut self, offset: u64) {
        self.offset = self.offset.min(offset);
        self.newest = self.newest.max(offset);
        self.session = None;
    }

    /// Returns the point to use if there is a gap after this one.
    pub(in crate::rooms) fn after_gap(self) -> Option<Self> {
        (self.newest > self.offset).then_some(Self {
            offset: self.newest,
            ..self
        })
    }
}

/// The result of a join with [`Since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The session gets all that its client has missed: so many events.
    Complete(usize),
    /// The client must load what it has missed from Laravel.
    Incomplete(Gap),
}

/// The reason why the edge cannot tell what a client has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// The client sent no position.
    Invalid,
    /// The history is off.
    Disabled,
    /// The position belongs to another numbering of events.
    OtherEpoch,
    /// The position is of an event that has not happened.
    Ahead,
    /// Some of the events are no longer kept.
    TooOld,
    /// More events than half of a session's queue.
    TooMuch,
}

impl Recovery {
    /// Returns the code of the result, for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Complete(_) => "recovered",
            Self::Incomplete(gap) => gap.name(),
        }
    }
}

impl Gap {
    /// Returns the code of the reason, for clients and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Disabled => "disabled",
            Self::OtherEpoch => "other_epoch",
            Self::Ahead => "ahead",
            Self::TooOld => "too_old",
            Self::TooMuch => "too_much",
        }
    }
}

impl Rooms {
    /// Returns the event at `position`.
    ///
    /// # Errors
    /// Returns the reason why it is not known: [`Gap::Disabled`], [`Gap::OtherEpoch`],
    /// [`Gap::Ahead`] or [`Gap::TooOld`].
    pub(crate) fn find_event(&self, position: Position) -> Result<Arc<Publication>, Gap> {
        let history = self.history.as_ref().ok_or(Gap::Disabled)?;
        if position.epoch != history.epoch {
            return Err(Gap::OtherEpoch);
        }
        if position.offset > history.position().offset {
            return Err(Gap::Ahead);
        }
        let room = history.room_at(position.offset);
        let room = room.and_then(|name| self.find(&name));
        let event = room.and_then(|room| room.event(position.offset));
        event.ok_or(Gap::TooOld)
    }
}

impl History {
    /// Returns the events of a room after `since`, for a session of `user`. In doubt it is a
    /// gap.
    pub(in crate::rooms) fn recover(
        &self,
        since: Since,
        kept: &RoomHistory,
        user: &UserId,
    ) -> Result<Vec<Arc<Publication>>, Gap> {
        let (offset, lost) = match since {
            Since::Position(since) if since.epoch != self.epoch => return Err(Gap::OtherEpoch),
            Since::Position(since) => (since.offset, None),
            Since::Invalid => return Err(Gap::Invalid),
            Since::Parked(point) => (point.offset, point.session),
        };
        if offset > self.position().offset {
            return Err(Gap::Ahead);
        }
        let missed = kept.since(offset).ok_or(Gap::TooOld)?.into_iter();
        let is_for_client =
            |kept: &&Arc<Publication>| lost.is_none_or(|session| kept.is_for(session, Some(user)));
        Ok(missed
            .filter(is_for_client)
            .map(|kept| Arc::new(kept.replayed()))
            .collect())
    }
}
