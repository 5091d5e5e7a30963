//! The history of events: their positions, and what the rooms keep of them for sessions that
//! return after a disconnect.
//!
//! A broadcast of Laravel gets the next offset, is kept by its room, and then delivered, all
//! under the room's lock. A session that joins with the last position that its client knows
//! gets the kept events after it, and becomes a member, under the same lock. So it misses
//! nothing and gets nothing twice.
//!
//! Only broadcasts have positions. Typing, presence and seen marks are of the moment.
//!
//! # Retention
//!
//! Offsets rise over all rooms, so the oldest events of all rooms are dropped first, by age
//! and by memory. A room stays in memory while it has members or keeps events. Of the other
//! rooms the history knows the newest event, so a client that returns to a quiet room hears
//! that it has missed nothing.
//!
//! # Locks
//!
//! `order` is held from the number of a broadcast to its delivery: members of several rooms
//! get events in the order of their offsets. It is taken before the registry and the rooms.

mod flusher;
mod log_state;
mod log_thread;
mod log_writer;
mod mark_queue;
mod recovery;
mod request;
mod restore;
mod room_history;
mod settings;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

pub(crate) use self::log_thread::LogClosed;
pub(super) use self::log_thread::LogThread;
pub(super) use self::mark_queue::MarkQueue;
pub(crate) use self::recovery::{Gap, Recovery};
pub use self::recovery::{ResumePoint, Since};
pub(crate) use self::request::RequestId;
pub use self::restore::HistoryError;
pub(crate) use self::restore::PastRequest;
pub(crate) use self::restore::{check, doubts};
pub(super) use self::restore::{open, rooms_of};
pub(super) use self::room_history::RoomHistory;
use self::settings::OldClients;
pub(crate) use self::settings::Settings;
pub(crate) use self::usage::HistoryUsage;
use super::Delivered;
use super::Rooms;
use super::parked::ParkedSessions;
use super::publication::{Broadcast, Publication};
use super::receipts::Receipts;
use crate::core::ids::{RoomName, SessionId, UserId};
use crate::core::position::{Epoch, Position};
use crate::event_log::NewestOffsets;
use crate::runtime::sync::Mutex;

/// The positions of events, and the order in which rooms drop them.
#[derive(Debug)]
pub(super) struct History {
    settings: Settings,
    epoch: Epoch,
    /// The newest offset. Written under a room's lock, so that a session that enters the room
    /// reads at least the offsets of all events that went to the members before.
    newest: AtomicU64,
    /// The newest offset that was dropped of each room that is no longer in memory. Locked
    /// after the registry.
    dropped: Mutex<NewestOffsets<RoomName>>,
    order: Mutex<Order>,
    /// None if clients without positions are not served.
    parked: Option<ParkedSessions>,
}

/// The kept events of all rooms, the oldest first.
#[derive(Debug, Default)]
struct Order {
    kept: VecDeque<Kept>,
    /// The memory of the events that rooms keep.
    bytes: usize,
}

/// An event that a room may still keep.
#[derive(Debug)]
struct Kept {
    offset: u64,
    room: RoomName,
    since: Instant,
}

impl History {
    /// Creates an empty history of `epoch`, whose rooms had the events in `dropped`.
    pub(super) fn new(settings: Settings, epoch: Epoch, dropped: NewestOffsets<RoomName>) -> Self {
        let has_parked = settings.old_clients == OldClients::Resume;
        let parked = || ParkedSessions::new(settings.resume_timeout.get(), Arc::default());
        Self {
            parked: has_parked.then(parked),
            settings,
            epoch,
            newest: AtomicU64::new(0),
            dropped: Mutex::new(dropped),
            order: Mutex::default(),
        }
    }

    /// Returns the sessions that may return without a position, unless that is off.
    pub(super) fn parked(&self) -> Option<&ParkedSessions> {
        self.parked.as_ref()
    }

    /// Creates the receipts of `session`, unless clients without positions are not served.
    pub(super) fn new_receipts(&self, session: SessionId) -> Option<Arc<Receipts>> {
        let marks = Arc::clone(self.parked.as_ref()?.marks());
        Some(Arc::new(Receipts::new(session, marks)))
    }

    /// Returns whether a lost session of `user` in `room` may return.
    pub(super) fn is_expected(&self, user: &UserId, room: &RoomName) -> bool {
        let parked = self.parked.as_ref();
        parked.is_some_and(|parked| parked.is_expected(user, room))
    }

    /// Returns the position with `offset` in this epoch.
    pub(super) fn at(&self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            offset,
        }
    }

    /// Counts all offsets up to `offset` as used.
    pub(super) fn skip_to(&self, offset: u64) {
        self.newest.fetch_max(offset, Ordering::AcqRel);
    }

    /// Returns the position of the newest event of all rooms.
    pub(super) fn position(&self) -> Position {
        self.at(self.newest.load(Ordering::Acquire))
    }

    /// Returns the history of a room that was not in memory.
    pub(super) fn new_room(&self, name: &RoomName) -> RoomHistory {
        RoomHistory::new(self.dropped.lock().get(name))
    }

    /// Notes that a room leaves the memory, whose newest dropped event is `floor`. The registry
    /// is locked, so that no session finds the room missing before.
    pub(super) fn forget_room(&self, name: &RoomName, floor: u64) {
        self.dropped.lock().note(name, floor);
    }

    /// Gives `broadcast` the next position, keeps it and delivers it.
    pub(super) fn publish(&self, rooms: &Rooms, broadcast: Broadcast) -> Delivered {
        self.publish_at(rooms, broadcast, Instant::now())
    }

    fn publish_at(&self, rooms: &Rooms, broadcast: Broadcast, time: Instant) -> Delivered {
        let mut order = self.order.lock();
        let room = rooms.find_or_create(&broadcast.room);
        let (delivered, kept) = room.publish(Some(self), broadcast);
        order.bytes += kept.added;
        order.bytes -= kept.freed;
        order.push(
            delivered.position.map_or(0, |at| at.offset),
            room.name().clone(),
            time,
        );
        self.drop_old(&mut order, rooms);
        delivered
    }

    /// Makes a publication of `broadcast` and keeps it. Called under the lock of its room, by
    /// [`publish`](Self::publish) only.
    pub(super) fn keep(
        &self,
        room: &mut RoomHistory,
        broadcast: Broadcast,
    ) -> (Arc<Publication>, KeptBytes) {
        let position = self.at(self.position().offset + 1);
        self.newest.store(position.offset, Ordering::Release);
        let publication = Arc::new(broadcast.into_publication().at(position));
        let bytes = KeptBytes {
            added: publication.memory(),
            freed: room.push(
                Arc::clone(&publication),
                self.settings.max_events_per_room.size(),
            ),
        };
        (publication, bytes)
    }

    /// Removes `room` from memory if it has neither members nor kept events. No event is
    /// published meanwhile, which would get lost in the removed room.
    pub(super) fn remove_unused(&self, rooms: &Rooms, room: &RoomName) {
        let _order = self.order.lock();
        rooms.drop_history(room, 0);
    }

    /// Returns the room of the event at `offset`, if it may be kept.
    fn room_at(&self, offset: u64) -> Option<RoomName> {
        let order = self.order.lock();
        let found = order.kept.binary_search_by_key(&offset, |kept| kept.offset);
        found.ok().map(|index| order.kept[index].room.clone())
    }

    /// Returns what is kept, in the rooms and in `log`.
    pub(super) fn usage(&self, log: Option<&LogThread>) -> HistoryUsage {
        let order = self.order.lock();
        HistoryUsage {
            events: order.kept.len(),
            memory_bytes: order.memory(),
            position: self.position(),
            parked_sessions: self.parked.as_ref().map_or(0, ParkedSessions::count),
            log: log.map(|log| log.usage(&self.settings.directory)),
        }
    }

    /// Drops what is over its age or beyond the memory.
    pub(super) fn enforce_retention(&self, rooms: &Rooms) {
        if let Some(parked) = &self.parked {
            parked.drop_expired();
        }
        self.drop_old(&mut self.order.lock(), rooms);
    }

    fn drop_old(&self, order: &mut Order, rooms: &Rooms) {
        let (max_age, max_memory) = (self.settings.max_age.get(), self.settings.max_memory.get());
        let is_old = |order: &Order| {
            let is_over_age = |oldest: &Kept| oldest.since.elapsed() >= max_age;
            order.memory() > max_memory || order.kept.front().is_some_and(is_over_age)
        };
        while is_old(order)
            && let Some(oldest) = order.kept.pop_front()
        {
            order.bytes -= rooms.drop_history(&oldest.room, oldest.offset);
        }
    }
}

/// The memory of what a room keeps, added and freed by one event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeptBytes {
    added: usize,
    freed: usize,
}

impl Order {
    fn push(&mut self, offset: u64, room: RoomName, since: Instant) {
        self.kept.push_back(Kept {
            offset,
            room,
            since,
        });
    }

    fn memory(&self) -> usize {
        self.bytes + self.kept.len() * KEPT_BYTES
    }
}

/// The memory of an event without its text, in bytes.
const KEPT_BYTES: usize = 256;
