//! One room: its member sessions, and the presence and typing state of their users.

mod replay;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::{DeliveryScheduler, Members};
use super::history::{History, KeptBytes, Recovery, RoomHistory, Since};
use super::presence::{Presence, Typing};
use super::present_user::PresentUser;
use super::{Audience, Broadcast, Delivered, EventKind, Outbox, Publication, Settings};
use crate::core::ids::{RoomName, SessionId, UserId};
use crate::core::position::Position;
use crate::runtime::sync::Mutex;

/// A room. Its lock is held for a whole fan-out, so every member gets the same order. Under
/// it only locks are taken that are held briefly: those of the members' delivery states and
/// of the scheduler, one at a time.
#[derive(Debug)]
pub(super) struct Room {
    name: RoomName,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    name: RoomName,
    members: Members,
    present: HashMap<UserId, Presence>,
    /// None if the history is off.
    history: Option<RoomHistory>,
}

/// The result of [`Room::enter`].
#[derive(Debug)]
pub(super) struct Entered {
    /// The users who are present, by name. Empty without presence.
    pub(super) users: Vec<PresentUser>,
    /// The position to return with if no later event arrives, if there is a history.
    pub(super) position: Option<Position>,
    /// Whether the session gets the events that its client has missed, if it asked for them.
    pub(super) recovery: Option<Recovery>,
}

/// A timer of a room. It is never cancelled, so it may fire in vain: the user may be back,
/// and the room may be another one of the same name.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// The grace of a user whose sessions were lost.
    Leaving { user: UserId },
    /// The end of a user's typing. It is valid only if it is the one set for `due`.
    Typing { user: UserId, due: Instant },
}

/// The result of [`Room::exit`].
#[derive(Debug)]
pub(super) struct Exit {
    /// Whether no session is left in the room.
    pub(super) is_empty: bool,
    /// A timer to set.
    pub(super) timer: Option<(Instant, Timer)>,
}

impl Room {
    /// Creates a room without members, which keeps its events in `history`.
    pub(super) fn new(
        name: RoomName,
        scheduler: Arc<DeliveryScheduler>,
        history: Option<RoomHistory>,
    ) -> Self {
        Self {
            name: name.clone(),
            state: Mutex::new(State {
                name,
                members: Members::new(scheduler),
                present: HashMap::new(),
                history,
            }),
        }
    }

    /// Returns the room's name.
    pub(super) fn name(&self) -> &RoomName {
        &self.name
    }

    /// Adds a session, after it has got what its client has missed `since` a position. In
    /// one step: the session gets every later event and change, and none twice.
    pub(super) fn enter(
        &self,
        history: Option<&History>,
        since: Option<Since>,
        user: Option<PresentUser>,
        session: SessionId,
        outbox: Outbox,
    ) -> Entered {
        let mut state = self.state.lock();
        let id = user.as_ref().map(|user| user.id().clone());
        let returning = since.zip(id.as_ref());
        let replayed =
            returning.map(|(since, id)| state.replay(history, since, u64::MAX, id, &outbox));
        let (recovery, since) = replayed.unzip();
        state.members.insert(session, id, outbox);
        if let Some(user) = user.filter(|_| self.name.has_presence()) {
            state.add_presence(user);
        }
        let position = history.map(|history| match (since, recovery) {
            // A client that is lost before these events arrive must get them again.
            (Some(Since::Position(since)), Some(Recovery::Complete(1..))) => since,
            (Some(Since::Parked(point)), Some(Recovery::Complete(1..))) => history.at(point.offset),
            _ => history.position(),
        });
        Entered {
            users: state.users(),
            position,
            recovery,
        }
    }

    /// Returns the users who are present, by name; none without presence.
    pub(super) fn users(&self) -> Vec<PresentUser> {
        self.state.lock().users()
    }

    /// Returns whether `user` may be present in this room of at most `max_users`.
    pub(super) fn has_space_for(&self, user: &UserId, max_users: usize) -> bool {
        let present = &self.state.lock().present;
        present.len() < max_users || present.contains_key(user)
    }

    /// Returns the number of sessions in the room.
    pub(super) fn session_count(&self) -> usize {
        self.state.lock().members.len()
    }

    /// Returns whether `session` is in the room.
    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.state.lock().members.contains(session)
    }

    /// Queues `publication` to the members in its audience.
    pub(super) fn deliver(&self, publication: Publication) -> Delivered {
        self.state.lock().members.deliver(&Arc::new(publication))
    }

    /// Queues a broadcast to the members in its audience, after it was kept in `history`.
    /// Returns the memory of what is kept, too.
    pub(super) fn publish(
        &self,
        history: Option<&History>,
        mut broadcast: Broadcast,
    ) -> (Delivered, KeptBytes) {
        let mut state = self.state.lock();
        let is_expected =
            |user: &UserId| history.is_some_and(|history| history.is_expected(user, &self.name));
        let absent = state.members.absent(broadcast.to.take(), is_expected);
        let (publication, bytes) = match (history, &mut state.history) {
            (Some(history), Some(kept)) => history.keep(kept, broadcast),
            _ => (Arc::new(broadcast.into_publication()), KeptBytes::default()),
        };
        let delivered = Delivered {
            absent,
            position: publication.position(),
            ..state.members.deliver(&publication)
        };
        (delivered, bytes)
    }

    /// Returns the event at `offset`, if it is kept.
    pub(super) fn event(&self, offset: u64) -> Option<Arc<Publication>> {
        self.state.lock().history.as_ref()?.event(offset)
    }

    /// Drops the kept events up to `offset`; returns their memory in bytes, and, if the room is
    /// of no more use, the newest offset that it has dropped.
    pub(super) fn drop_history(&self, offset: u64) -> (usize, Option<u64>) {
        let mut state = self.state.lock();
        let Some(history) = &mut state.history else {
            return (0, None);
        };
        let freed = history.drop_through(offset);
        let floor = history.floor_if_empty();
        (freed, floor.filter(|_| state.members.len() == 0))
    }

    /// Returns whether a session of the room [is behind](Outbox::is_behind).
    pub(super) fn is_behind(&self) -> bool {
        self.state.lock().members.is_behind()
    }

    /// Removes a session. With a `grace` its user counts as present for that long; without
    /// one the user left for good.
    pub(super) fn exit(&self, session: SessionId, grace: Option<Duration>) -> Exit {
        let mut state = self.state.lock();
        let timer = state.exit(session, grace);
        let is_empty = state.members.len() == 0;
        if is_empty {
            // Nobody is left who would hear that their grace ends.
            state.present.clear();
        }
        Exit { is_empty, timer }
    }

    /// Records that a session's user types or stopped, and publishes it to the other users:
    /// a start at most once per `typing_interval`. Returns a timer to set.
    pub(super) fn typing(
        &self,
        session: SessionId,
        on: bool,
        settings: &Settings,
    ) -> Option<(Instant, Timer)> {
        self.state.lock().typing(session, on, settings)
    }

    /// Handles a timer that fired; returns the next one to set.
    pub(super) fn expire(&self, timer: Timer) -> Option<(Instant, Timer)> {
        let mut state = self.state.lock();
        match timer {
            Timer::Leaving { user } => {
                let due = state.present.get(&user)?.leaving?;
                if due <= Instant::now() {
                    state.remove_presence(&user);
                }
                None
            }
            Timer::Typing { user, due } => {
                let typing = state.present.get_mut(&user)?.typing.as_mut()?;
                typing.timer.take_if(|set| *set == due)?;
                let until = typing.now?.until;
                if until > Instant::now() {
                    typing.timer = Some(until);
                    return Some((until, Timer::Typing { user, due: until }));
                }
                state.stop_typing(&user);
                None
            }
        }
    }
}

impl State {
    /// Counts a session of `user`; publishes `UserJoined` if the user was not present.
    fn add_presence(&mut self, user: PresentUser) {
        if let Some(presence) = self.present.get_mut(user.id()) {
            presence.sessions += 1;
            presence.leaving = None;
            return;
        }
        let id = user.id().clone();
        let presence = Presence {
            user: user.clone(),
            sessions: 1,
            leaving: None,
            typing: None,
        };
        self.present.insert(id.clone(), presence);
        self.notify_others(&id, EventKind::UserJoined(user));
    }

    /// Removes a session; see [`Room::exit`].
    fn exit(&mut self, session: SessionId, grace: Option<Duration>) -> Option<(Instant, Timer)> {
        let user = self.members.remove(session)?;
        let presence = self.present.get_mut(&user)?;
        presence.sessions -= 1;
        let is_last = presence.sessions == 0;
        if is_last
            || presence
                .typing()
                .is_some_and(|typing| typing.session == session)
        {
            self.stop_typing(&user);
        }
        if !is_last {
            return None;
        }
        let Some(grace) = grace else {
            self.remove_presence(&user);
            return None;
        };
        let due = Instant::now() + grace;
        self.present.get_mut(&user)?.leaving = Some(due);
        Some((due, Timer::Leaving { user }))
    }

    /// Ends the presence of `user`; publishes `UserLeft`.
    fn remove_presence(&mut self, user: &UserId) {
        if let Some(presence) = self.present.remove(user) {
            self.notify_others(user, EventKind::UserLeft(presence.user));
        }
    }

    /// Records typing; see [`Room::typing`].
    fn typing(
        &mut self,
        session: SessionId,
        on: bool,
        settings: &Settings,
    ) -> Option<(Instant, Timer)> {
        let id = self.members.user(session)?.clone();
        if !on {
            // Only the session that typed can end it.
            let typing = self.present.get(&id)?.typing()?;
            if typing.session == session {
                self.stop_typing(&id);
            }
            return None;
        }
        let now = Instant::now();
        let presence = self.present.get_mut(&id)?;
        let until = now + settings.typing_timeout.get();
        let interval = settings.typing_interval.get();
        let state = presence.typing.get_or_insert_default();
        let is_due = state
            .sent_at
            .is_none_or(|sent_at| now >= sent_at + interval);
        if !is_due {
            // The others get no further event, but the typing they know of is extended.
            if let Some(typing) = &mut state.now {
                *typing = Typing { session, until };
            }
            return None;
        }
        state.now = Some(Typing { session, until });
        state.sent_at = Some(now);
        // One timer per user: while it is set, a later start only moves `until`, which the
        // timer looks at when it fires.
        let is_set = state.timer.is_some();
        let due = *state.timer.get_or_insert(until);
        let user = presence.user.user().clone();
        self.notify_others(&id, EventKind::Typing { user, on: true });
        (!is_set).then_some((due, Timer::Typing { user: id, due }))
    }

    /// Ends the typing of a user; publishes that if they were typing.
    fn stop_typing(&mut self, id: &UserId) {
        let Some(presence) = self.present.get_mut(id) else {
            return;
        };
        let typing = presence.typing.as_mut();
        if typing.and_then(|typing| typing.now.take()).is_some() {
            let user = presence.user.user().clone();
            self.notify_others(id, EventKind::Typing { user, on: false });
        }
    }

    /// Publishes an event about `user` to the sessions of all other users.
    fn notify_others(&mut self, user: &UserId, kind: EventKind) {
        let audience = Audience::OthersThan(user.clone());
        let publication = Publication::new(self.name.clone(), kind, audience);
        self.members.deliver(&Arc::new(publication));
    }

    /// Returns the users who are present, by name.
    fn users(&self) -> Vec<PresentUser> {
        let mut users: Vec<_> = self.present.values().map(|p| p.user.clone()).collect();
        users.sort_by(|a, b| a.name().cmp(b.name()));
        users
    }
}
