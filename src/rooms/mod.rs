//! Rooms, one per support ticket: their member sessions, the presence of users, and the
//! delivery of a publication to all members in one order. Also the registry of all sessions.
//!
//! ```text
//! publish ──▶ registry ──▶ room ──▶ outbox ┈┈ inbox ──▶ session
//!             (short lock)  │         └─▶ scheduler ──▶ its stream, while it is parked
//!                           locked for the whole fan-out: one order for all
//! ```
//!
//! *Publish* means to enter the system, *deliver* to reach local members. A room knows no
//! protocol: a publication carries its encoded frame with it, made for the first session that
//! it is sent to. The head of `delivery` names each step of a publication, the order of the
//! locks, and who wakes whom.

mod deadlines;
mod delivery;
mod metrics;
mod publication;
mod room;
mod sessions;
mod settings;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use self::deadlines::Deadlines;
use self::delivery::DeliveryScheduler;
pub(crate) use self::delivery::{
    Delivered, Eviction, Inbox, MAX_WRITE_BYTES, Outbox, PublicationEncoder, SessionEvent,
    SharedStream, channel,
};
pub(crate) use self::metrics::PublishCounters;
pub use self::metrics::{DeliveryMetrics, Metrics};
pub use self::publication::{Audience, EventKind, Publication};
use self::room::{Room, Timer};
pub(crate) use self::sessions::{OpenSession, Sessions};
pub(crate) use self::settings::Settings;
use crate::auth::{Grant, User};
use crate::core::ids::{RoomName, SessionId};
use crate::runtime::drain::Drain;
use crate::runtime::sync::Mutex;

/// The registry of rooms. A room exists while a session is in it.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Held while a session enters or leaves, so that no session enters a room that is being
    /// removed as empty.
    registry: Mutex<HashMap<RoomName, Arc<Room>>>,
    deadlines: Deadlines<(RoomName, Timer)>,
    scheduler: Arc<DeliveryScheduler>,
    settings: Settings,
    /// Spawns what remains to do for a session that ends without leaving its rooms.
    drain: Drain,
    published: PublishCounters,
}

/// The result of [`Rooms::join`].
#[derive(Debug)]
pub(crate) struct Joined {
    /// The session's place, which it must leave.
    pub(crate) membership: Membership,
    /// The users who are present, the session's own included.
    pub(crate) users: Vec<User>,
}

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

impl Rooms {
    /// Creates a registry without rooms.
    pub(crate) fn new(settings: Settings, drain: Drain) -> Self {
        Self {
            registry: Mutex::default(),
            deadlines: Deadlines::new(),
            scheduler: Arc::default(),
            settings,
            drain,
            published: PublishCounters::default(),
        }
    }

    /// Returns the counters of published events, which the publishers increase.
    pub(crate) fn published(&self) -> &PublishCounters {
        &self.published
    }

    /// Adds `session` to the room of `grant`. From then on everything that is delivered there
    /// goes to `outbox`. The caller joins each room once per session.
    pub(crate) fn join(
        self: &Arc<Self>,
        grant: &Grant,
        session: SessionId,
        outbox: Outbox,
    ) -> Joined {
        let mut registry = self.registry.lock();
        let room = match registry.entry(grant.room()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => {
                let room = Room::new(grant.room(), Arc::clone(&self.scheduler));
                Arc::clone(entry.insert(Arc::new(room)))
            }
        };
        let users = room.enter(grant.user(), session, outbox);
        drop(registry);
        Joined {
            membership: Membership {
                rooms: Arc::clone(self),
                room,
                session,
                has_left: false,
            },
            users,
        }
    }

    /// Queues `publication` to the members of its room, without waiting. Reaches nobody if
    /// the room does not exist.
    pub(crate) fn publish(&self, publication: Publication) -> Delivered {
        match self.find(publication.room()) {
            Some(room) => room.deliver(publication),
            None => Delivered::default(),
        }
    }

    /// Returns whether [`apply_backpressure`](Self::apply_backpressure) would wait: sessions in
    /// `rooms` have much queued and were not served.
    pub(crate) fn is_any_behind(&self, mut rooms: impl Iterator<Item = RoomName>) -> bool {
        rooms.any(|name| self.find(name).is_some_and(|room| room.is_behind()))
    }

    /// Waits while sessions in `rooms` have much queued and were not served: otherwise a fast
    /// publisher would overflow the queues of clients that read well. Never waits for a
    /// client, and at most 250 ms. Cancel-safe.
    pub(crate) async fn apply_backpressure(&self, rooms: &[RoomName]) {
        let catching_up = async {
            while self.is_any_behind(rooms.iter().copied()) {
                tokio::task::yield_now().await;
            }
        };
        // After the timeout the caller publishes anyway, as far as the queues hold it.
        let _ = tokio::time::timeout(BACKPRESSURE_TIMEOUT, catching_up).await;
    }

    /// Returns the users who are present in a room, those within their grace included, and
    /// the number of sessions there.
    pub(crate) fn occupants(&self, room: RoomName) -> (Vec<User>, usize) {
        self.find(room)
            .map(|room| (room.users(), room.session_count()))
            .unwrap_or_default()
    }

    /// Returns every room with the number of its sessions.
    pub(crate) fn list(&self) -> Vec<(RoomName, usize)> {
        self.all()
            .iter()
            .map(|room| (room.name(), room.session_count()))
            .collect()
    }

    /// Returns the rooms that `session` is in.
    pub(crate) fn rooms_of(&self, session: SessionId) -> Vec<RoomName> {
        self.all()
            .iter()
            .filter(|room| room.contains(session))
            .map(|room| room.name())
            .collect()
    }

    /// Copies the list of rooms: the registry is not locked while each of them is looked at.
    fn all(&self) -> Vec<Arc<Room>> {
        self.registry.lock().values().map(Arc::clone).collect()
    }

    /// Returns the number of rooms.
    pub(crate) fn count(&self) -> usize {
        self.registry.lock().len()
    }

    /// Ends graces and typing when they are due. Runs for ever, in one task for the whole
    /// process. Cancel-safe.
    pub(crate) async fn run_timers(&self) -> Infallible {
        loop {
            let (name, timer) = self.deadlines.next().await;
            if let Some(room) = self.find(name)
                && let Some((due, next_timer)) = room.expire(timer)
            {
                self.deadlines.add(due, (name, next_timer));
            }
        }
    }

    /// Delivers to parked sessions, batch by batch. Runs for ever, once on each worker
    /// thread. While no call runs, the sessions are woken and write for themselves.
    pub(crate) async fn run_scheduler(&self) -> Infallible {
        self.scheduler.run().await
    }

    /// Removes `session` from `room`, and the room if it was the last. With a `grace` its user
    /// counts as present for that long; without one the user left for good.
    fn exit(&self, room: &Room, session: SessionId, grace: Option<Duration>) {
        let mut registry = self.registry.lock();
        let exit = room.exit(session, grace);
        if exit.empty {
            registry.remove(&room.name());
        } else if let Some((due, timer)) = exit.timer {
            self.deadlines.add(due, (room.name(), timer));
        }
    }

    fn presence_timeout(&self) -> Duration {
        self.settings.presence_timeout.get()
    }

    fn find(&self, name: RoomName) -> Option<Arc<Room>> {
        self.registry.lock().get(&name).map(Arc::clone)
    }
}

impl Membership {
    /// Returns the users who are present, the session's own included.
    pub(crate) fn users(&self) -> Vec<User> {
        self.room.users()
    }

    /// Publishes that this session's user types, or stopped; sets the timer that ends typing.
    pub(crate) fn typing(&self, on: bool) {
        let settings = &self.rooms.settings;
        if let Some((due, timer)) = self.room.typing(self.session, on, settings) {
            self.rooms.deadlines.add(due, (self.room.name(), timer));
        }
    }

    /// Queues an event of this session's user to the members in `audience`.
    pub(crate) fn publish(&self, kind: EventKind, audience: Audience) -> Delivered {
        let publication = Publication::new(self.room.name(), kind, audience);
        self.room.deliver(publication)
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

/// Well below the second that Laravel's client waits for the response.
const BACKPRESSURE_TIMEOUT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
