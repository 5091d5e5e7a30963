//! Rooms, one per support ticket and channel: their member sessions, the presence of users, and the
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

mod backpressure;
mod deadlines;
mod delivery;
mod history;
mod membership;
mod metrics;
mod parked;
mod presence;
mod present_user;
mod publication;
mod receipts;
mod room;
mod sessions;
mod settings;

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use self::deadlines::Deadlines;
use self::delivery::DeliveryScheduler;
pub(crate) use self::delivery::{
    Delivered, Eviction, Inbox, MAX_WRITE_BYTES, Outbox, PublicationEncoder, SessionEvent,
    SharedStream, channel,
};
pub(crate) use self::history::{
    Gap, HistoryUsage, LogClosed, PastRequest, Recovery, RequestId, Settings as HistorySettings,
};
use self::history::{History, LogThread};
pub use self::history::{HistoryError, ResumePoint, Since};
pub(crate) use self::history::{check as check_history, doubts as history_doubts};
pub(crate) use self::membership::Membership;
pub(crate) use self::metrics::PublishCounters;
pub use self::metrics::{DeliveryMetrics, Metrics};
pub(crate) use self::parked::{Browser, Claim, ParkedSessions};
pub use self::present_user::PresentUser;
pub use self::publication::{Audience, Broadcast, EventKind, Publication, Wire};
pub(crate) use self::receipts::{RECEIPT_INTERVAL, Receipts};
use self::room::{Entered, Room, Timer};
pub(crate) use self::sessions::{
    EventReceipts, OpenSession, PONG_TIMEOUT, Predecessor, Registration, SessionEntry, Sessions,
};
pub(crate) use self::settings::Settings;
use crate::auth::Grant;
use crate::core::ids::{RoomName, SessionId};
use crate::core::position::{Epoch, Position};
use crate::event_log::NewestOffsets;
use crate::runtime::drain::Drain;
use crate::runtime::sync::Mutex;

/// The registry of rooms. A room exists while a session is in it, or while it keeps events.
#[derive(Debug)]
pub(crate) struct Rooms {
    /// Held while a session enters or leaves, so that no session enters a room that is being
    /// removed as empty.
    registry: Mutex<HashMap<RoomName, Arc<Room>>>,
    deadlines: Deadlines<(RoomName, Timer)>,
    scheduler: Arc<DeliveryScheduler>,
    settings: Settings,
    /// None if it is off.
    history: Option<History>,
    /// Not set if the history has no directory.
    log: OnceLock<LogThread>,
    /// Spawns what remains to do for a session that ends without leaving its rooms.
    drain: Drain,
    published: PublishCounters,
}

/// The result of [`Rooms::join`].
#[derive(Debug)]
pub(crate) struct Joined {
    /// The session's place, which it must leave.
    pub(crate) membership: Membership,
    /// The users who are present, the session's own included. Empty without presence.
    pub(crate) users: Vec<PresentUser>,
    /// The position to return with if no later event arrives, if there is a history.
    pub(crate) position: Option<Position>,
    /// Whether the session gets the events that its client has missed, if it asked for them.
    pub(crate) recovery: Option<Recovery>,
}

impl Rooms {
    /// Creates a registry with the rooms of the event log. Also returns the requests of
    /// Laravel that an earlier process has published, and which Laravel may retry. The file
    /// `watermark` shows whether events were published without the log.
    ///
    /// # Errors
    /// Any variant of [`HistoryError`].
    pub(crate) fn open(
        settings: Settings,
        history: HistorySettings,
        watermark: &Path,
        drain: Drain,
    ) -> Result<(Arc<Self>, Vec<PastRequest>), HistoryError> {
        let Some((log, recovered)) = history::open(&history, watermark)? else {
            return Ok((Arc::new(Self::new(settings, history, drain)), Vec::new()));
        };
        let dropped = history::rooms_of(&recovered.dropped);
        let history = History::new(history, recovered.epoch, dropped);
        let rooms = Arc::new(Self::with_history(settings, Some(history), drain));
        let past_requests = rooms.restore(log, recovered);
        Ok((rooms, past_requests))
    }

    /// Creates a registry without rooms and without an event log.
    pub(crate) fn new(settings: Settings, history: HistorySettings, drain: Drain) -> Self {
        let new_history = || History::new(history.clone(), Epoch::random(), NewestOffsets::new(0));
        Self::with_history(settings, history.enabled.then(new_history), drain)
    }

    fn with_history(settings: Settings, history: Option<History>, drain: Drain) -> Self {
        Self {
            registry: Mutex::default(),
            deadlines: Deadlines::new(),
            scheduler: Arc::default(),
            settings,
            history,
            log: OnceLock::new(),
            drain,
            published: PublishCounters::default(),
        }
    }

    /// Returns the counters of published events, which the publishers increase.
    pub(crate) fn published(&self) -> &PublishCounters {
        &self.published
    }

    /// Adds `session` to the room of `grant`. From then on everything that is delivered there
    /// goes to `outbox`, after the events that the client has missed `since` a position. The
    /// caller joins each room once per session.
    pub(crate) fn join(
        self: &Arc<Self>,
        grant: &Grant,
        since: Option<Since>,
        session: SessionId,
        outbox: Outbox,
    ) -> Joined {
        let mut registry = self.registry.lock();
        let room = self.get_or_insert(&mut registry, grant.room());
        let user = PresentUser::new(grant);
        let entered = room.enter(self.history.as_ref(), since, user, session, outbox);
        drop(registry);
        let Entered {
            users,
            position,
            recovery,
        } = entered;
        Joined {
            membership: Membership::new(Arc::clone(self), room, session),
            users,
            position,
            recovery,
        }
    }

    /// Publishes the broadcasts of one request, in their order. With an event log they are
    /// stored before they are delivered.
    ///
    /// Cancel safety: with an event log, they are published even if the future is dropped
    /// after its first poll. Otherwise the future completes at once.
    ///
    /// # Errors
    /// Returns [`LogClosed`] after [`close_log`](Self::close_log).
    pub(crate) async fn publish_all(
        &self,
        id: Option<RequestId>,
        broadcasts: Vec<Broadcast>,
    ) -> Result<Vec<Delivered>, LogClosed> {
        match self.log.get() {
            Some(log) => log.publish(self, id, broadcasts).await,
            None => Ok(broadcasts
                .into_iter()
                .map(|event| self.publish(event))
                .collect()),
        }
    }

    /// Returns whether broadcasts are stored in an event log.
    pub(crate) fn has_log(&self) -> bool {
        self.log.get().is_some()
    }

    /// Closes the event log, if there is one, after what waits was published. Blocks.
    pub(crate) fn close_log(&self) {
        if let Some(log) = self.log.get() {
            log.close();
        }
    }

    /// Creates the receipts of `session`, unless clients without positions are not served.
    pub(crate) fn new_receipts(&self, session: SessionId) -> Option<Arc<Receipts>> {
        self.history.as_ref()?.new_receipts(session)
    }

    /// Returns the sessions that may return without a position, unless that is off.
    pub(crate) fn parked(&self) -> Option<&ParkedSessions> {
        self.history.as_ref()?.parked()
    }

    /// Returns what the history keeps, unless it is off.
    pub(crate) fn history_usage(&self) -> Option<HistoryUsage> {
        let history = self.history.as_ref()?;
        Some(history.usage(self.log.get()))
    }

    /// Returns the offset of the next broadcast.
    pub(crate) fn next_offset(&self) -> u64 {
        let history = self.history.as_ref();
        history.map_or(0, |history| history.position().offset + 1)
    }

    /// Counts all offsets before `next_offset` as used.
    fn skip_to(&self, next_offset: u64) {
        if let Some(history) = &self.history {
            history.skip_to(next_offset.saturating_sub(1));
        }
    }

    /// Queues `broadcast` to the members of its room, without waiting, and keeps it if there
    /// is a history.
    pub(crate) fn publish(&self, broadcast: Broadcast) -> Delivered {
        if let Some(history) = &self.history {
            return history.publish(self, broadcast);
        }
        match self.find(&broadcast.room) {
            Some(room) => room.publish(None, broadcast).0,
            None => Delivered {
                absent: broadcast.to,
                ..Delivered::default()
            },
        }
    }

    /// Returns the users who are present in a room, those within their grace included, and
    /// the number of sessions there.
    pub(crate) fn occupants(&self, room: &RoomName) -> (Vec<PresentUser>, usize) {
        self.find(room)
            .map(|room| (room.users(), room.session_count()))
            .unwrap_or_default()
    }

    /// Returns every room that has sessions, with their number.
    pub(crate) fn list(&self) -> Vec<(RoomName, usize)> {
        self.all()
            .iter()
            .map(|room| (room.name().clone(), room.session_count()))
            .filter(|(_, sessions)| *sessions > 0)
            .collect()
    }

    /// Returns the rooms that `session` is in.
    pub(crate) fn rooms_of(&self, session: SessionId) -> Vec<RoomName> {
        self.all()
            .iter()
            .filter(|room| room.contains(session))
            .map(|room| room.name().clone())
            .collect()
    }

    /// Copies the list of rooms: the registry is not locked while each of them is looked at.
    fn all(&self) -> Vec<Arc<Room>> {
        self.registry.lock().values().map(Arc::clone).collect()
    }

    /// Returns the number of rooms that have sessions.
    pub(crate) fn count(&self) -> usize {
        self.list().len()
    }

    /// Ends graces and typing when they are due, and drops old events. Runs for ever, in one task for the whole
    /// process. Cancel-safe.
    pub(crate) async fn run_timers(&self) -> Infallible {
        let mut retention = tokio::time::interval(RETENTION_INTERVAL);
        loop {
            let (name, timer) = tokio::select! {
                due = self.deadlines.next() => due,
                _ = retention.tick() => {
                    if let Some(history) = &self.history {
                        history.enforce_retention(self);
                    }
                    continue;
                }
            };
            if let Some(room) = self.find(&name)
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
        if exit.is_empty {
            match &self.history {
                // The registry is locked after the history's order.
                Some(history) => {
                    drop(registry);
                    history.remove_unused(self, room.name());
                }
                None => {
                    registry.remove(room.name());
                }
            }
        } else if let Some((due, timer)) = exit.timer {
            self.deadlines.add(due, (room.name().clone(), timer));
        }
    }

    fn presence_timeout(&self) -> Duration {
        self.settings.presence_timeout.get()
    }

    /// Drops the kept events of a room up to `offset`, and the room if it is of no more use;
    /// returns their memory in bytes.
    fn drop_history(&self, name: &RoomName, offset: u64) -> usize {
        let mut registry = self.registry.lock();
        let Some(room) = registry.get(name) else {
            return 0;
        };
        let (freed, floor) = room.drop_history(offset);
        if let (Some(floor), Some(history)) = (floor, &self.history) {
            history.forget_room(name, floor);
            registry.remove(name);
        }
        freed
    }

    fn find_or_create(&self, name: &RoomName) -> Arc<Room> {
        self.get_or_insert(&mut self.registry.lock(), name)
    }

    fn get_or_insert(
        &self,
        registry: &mut HashMap<RoomName, Arc<Room>>,
        name: &RoomName,
    ) -> Arc<Room> {
        if let Some(room) = registry.get(name) {
            return Arc::clone(room);
        }
        let history = self.history.as_ref();
        let history = history.map(|history| history.new_room(name));
        let scheduler = Arc::clone(&self.scheduler);
        let room = Arc::new(Room::new(name.clone(), scheduler, history));
        registry.insert(name.clone(), Arc::clone(&room));
        room
    }

    fn find(&self, name: &RoomName) -> Option<Arc<Room>> {
        self.registry.lock().get(name).map(Arc::clone)
    }
}

/// How often old events are dropped while none are published.
const RETENTION_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
