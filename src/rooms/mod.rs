//! Rooms: who is in which, and how a publication reaches everyone there in one
//! order.
//!
//! ```text
//! publish ──▶ registry ──▶ room ──▶ outbox ┈┈ inbox ──▶ session
//!             (short lock)  │         └─▶ turns ──▶ sink: its stream, while it rests
//!                           locked for the whole fan-out: one order for all
//! ```
//!
//! *Publish* means to enter the system, *deliver* to reach local members. A
//! room knows no protocol: a publication carries its encoded frame with it,
//! made for the first session that it is sent to.

mod deadlines;
mod outbox;
mod publication;
mod room;
mod scheduler;
mod sessions;
mod settings;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use self::deadlines::Deadlines;
pub use self::outbox::{
    Batch, DirectWriter, Eviction, Inbox, Outbox, SendResult, SessionEvent, channel,
};
pub use self::publication::{Audience, EventKind, Publication};
pub use self::room::Delivered;
use self::room::{Room, Timer};
use self::scheduler::DeliveryScheduler;
pub use self::sessions::{OpenSession, Registration, Sessions};
pub use self::settings::Settings;
use crate::auth::{Grant, User};
use crate::core::ids::{RoomName, SessionId};

/// The registry of rooms. A room exists while somebody is in it.
#[derive(Debug)]
pub struct Rooms {
    registry: Mutex<HashMap<RoomName, Arc<Room>>>,
    deadlines: Deadlines<(RoomName, Timer)>,
    scheduler: Arc<DeliveryScheduler>,
    settings: Settings,
}

/// Everyone in the room is here, or nobody could be let in.
#[derive(Debug)]
pub struct Joined {
    /// Keeps the session in the room until it is dropped.
    pub membership: Membership,
    /// Who is here, oneself included.
    pub users: Vec<User>,
}

/// A session's place in a room. Dropping it means that the connection went
/// away: the others are told after a grace. [`Membership::leave`] tells them at once.
#[derive(Debug)]
pub struct Membership {
    rooms: Arc<Rooms>,
    room: Arc<Room>,
    session: SessionId,
    left: bool,
}

impl Rooms {
    /// No room yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            registry: Mutex::default(),
            deadlines: Deadlines::new(),
            scheduler: Arc::default(),
            settings,
        }
    }

    /// Lets `session` into the room of `grant`; what is delivered there from now
    /// on goes to `outbox`. The caller joins each room once per session.
    pub fn join(self: &Arc<Self>, grant: &Grant, session: SessionId, outbox: Outbox) -> Joined {
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
                left: false,
            },
            users,
        }
    }

    /// Delivers `publication` to everyone in its room, and returns when it is
    /// queued to all of them. A room that does not exist has nobody in it.
    pub fn publish(&self, publication: Publication) -> Delivered {
        match self.find(publication.room()) {
            Some(room) => room.deliver(publication),
            None => Delivered::default(),
        }
    }

    /// Waits while the sessions in `rooms` have not had their turn though much waits for
    /// them: else who publishes fast would end those whose clients read. It waits for no
    /// client, and not for long: who publishes may be a request of somebody.
    pub async fn apply_backpressure(&self, rooms: SmallVec<[RoomName; 1]>) {
        let is_behind = |name: &RoomName| self.find(*name).is_some_and(|room| room.is_behind());
        let catching_up = async {
            while rooms.iter().any(is_behind) {
                tokio::task::yield_now().await;
            }
        };
        // Then their queues are filled, as far as they go.
        let _ = tokio::time::timeout(BACKPRESSURE_TIMEOUT, catching_up).await;
    }

    /// Who is in a room, those included who went away a moment ago, and how many
    /// sessions they have there.
    pub fn occupants(&self, room: RoomName) -> (Vec<User>, usize) {
        self.find(room)
            .map(|room| (room.users(), room.session_count()))
            .unwrap_or_default()
    }

    /// Every room and how many sessions are in it.
    pub fn list(&self) -> Vec<(RoomName, usize)> {
        let rooms = self.all().into_iter();
        rooms
            .map(|room| (room.name(), room.session_count()))
            .collect()
    }

    /// The rooms that `session` is in.
    pub fn rooms_of(&self, session: SessionId) -> Vec<RoomName> {
        let rooms = self.all().into_iter();
        let rooms = rooms.filter(|room| room.contains(session));
        rooms.map(|room| room.name()).collect()
    }

    fn all(&self) -> Vec<Arc<Room>> {
        self.registry.lock().values().map(Arc::clone).collect()
    }

    /// Rooms with somebody in them.
    pub fn count(&self) -> usize {
        self.registry.lock().len()
    }

    /// Ends graces and typing when their time is up. Runs for ever; one task
    /// for the whole process, so that an idle session costs no timer.
    pub async fn run_timers(&self) -> Infallible {
        loop {
            let (name, timer) = self.deadlines.next().await;
            if let Some(room) = self.find(name)
                && let Some((due, again)) = room.expire(timer)
            {
                self.deadlines.add(due, (name, again));
            }
        }
    }

    /// Sends to the sessions what waits for them, in turns with all else. Runs for ever,
    /// once on each worker thread; without it the sessions are woken to send it themselves.
    pub async fn run_scheduler(&self) -> Infallible {
        self.scheduler.run().await
    }

    fn find(&self, name: RoomName) -> Option<Arc<Room>> {
        self.registry.lock().get(&name).map(Arc::clone)
    }
}

impl Membership {
    /// The room.
    pub fn room(&self) -> RoomName {
        self.room.name()
    }

    /// Everyone who is here.
    pub fn users(&self) -> Vec<User> {
        self.room.users()
    }

    /// Says that this session's user types, or no longer does.
    pub fn typing(&self, on: bool) {
        let settings = &self.rooms.settings;
        if let Some((due, timer)) = self.room.typing(self.session, on, settings) {
            self.rooms.deadlines.add(due, (self.room.name(), timer));
        }
    }

    /// Delivers what this session's user says to the others.
    pub fn publish(&self, what: EventKind, audience: Audience) -> Delivered {
        let publication = Publication::new(self.room.name(), what, audience);
        self.room.deliver(publication)
    }

    /// Leaves for good: the others are told at once.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut registry = self.rooms.registry.lock();
        let grace = (!self.left).then(|| self.rooms.settings.presence_grace.get());
        let exit = self.room.exit(self.session, grace);
        if exit.empty {
            registry.remove(&self.room.name());
        } else if let Some((due, timer)) = exit.timer {
            self.rooms.deadlines.add(due, (self.room.name(), timer));
        }
    }
}

/// Laravel's client waits a second for its answer.
const BACKPRESSURE_TIMEOUT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
