//! One room: its member sessions, the presence and typing state of their users, and the
//! fan-out of publications.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::delivery::{DeliveryScheduler, PushResult, QueueClass};
use super::{Audience, EventKind, Outbox, Publication, Settings};
use crate::auth::User;
use crate::core::ids::{RoomName, SessionId, UserId};

/// A room. Its lock is held for a whole fan-out, so every member gets the same order. Under
/// it only locks are taken that are held briefly: those of the members' queues and of the
/// scheduler, one at a time.
#[derive(Debug)]
pub(super) struct Room {
    name: RoomName,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    name: RoomName,
    members: HashMap<SessionId, Member>,
    present: HashMap<UserId, Presence>,
    /// A member that was [behind](Outbox::is_behind) at the last look, if any was. One is
    /// remembered so that a publisher who waits does not look at all members each time.
    behind: Option<Outbox>,
    scheduler: Arc<DeliveryScheduler>,
}

/// A session in the room.
#[derive(Debug)]
struct Member {
    user: UserId,
    outbox: Outbox,
}

/// A user who counts as present.
#[derive(Debug)]
struct Presence {
    user: User,
    sessions: usize,
    /// The end of the grace, if all of the user's sessions were lost.
    leaving: Option<Instant>,
    typing: Option<Typing>,
    /// The time at which the user's one typing timer fires, if it is set.
    typing_timer: Option<Instant>,
    /// The time at which the others last heard that the user types.
    typing_sent_at: Option<Instant>,
}

/// The session that types, and the time at which typing ends by itself.
#[derive(Clone, Copy, Debug)]
struct Typing {
    session: SessionId,
    until: Instant,
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
    pub(super) empty: bool,
    /// A timer to set.
    pub(super) timer: Option<(Instant, Timer)>,
}

/// The sessions and users that a publication reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The number of sessions in whose queue it is.
    pub sessions: usize,
    /// The number of sessions whose queue was too full for it, or which were evicted.
    pub missed: usize,
    /// The users of the reached sessions, each once, at most [`Delivered::MAX_USERS`].
    pub users: Vec<UserId>,
}

impl Delivered {
    /// The maximum number of users listed.
    pub const MAX_USERS: usize = 100;
}

impl Room {
    /// Creates a room without members.
    pub(super) fn new(name: RoomName, scheduler: Arc<DeliveryScheduler>) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                name,
                members: HashMap::new(),
                present: HashMap::new(),
                behind: None,
                scheduler,
            }),
        }
    }

    /// Returns the room's name.
    pub(super) fn name(&self) -> RoomName {
        self.name
    }

    /// Adds a session and returns the users who are present then, in one step: the session
    /// gets every later change as an event.
    pub(super) fn enter(&self, user: &User, session: SessionId, outbox: Outbox) -> Vec<User> {
        let mut state = self.state.lock();
        let member = Member {
            user: user.id().clone(),
            outbox,
        };
        state.members.insert(session, member);
        state.add_presence(user);
        state.users()
    }

    /// Returns the users who are present, by name.
    pub(super) fn users(&self) -> Vec<User> {
        self.state.lock().users()
    }

    /// Returns the number of sessions in the room.
    pub(super) fn session_count(&self) -> usize {
        self.state.lock().members.len()
    }

    /// Returns whether `session` is in the room.
    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.state.lock().members.contains_key(&session)
    }

    /// Queues `publication` to the members in its audience.
    pub(super) fn deliver(&self, publication: Publication) -> Delivered {
        self.state.lock().deliver(publication)
    }

    /// Returns whether a session of the room [is behind](Outbox::is_behind).
    pub(super) fn is_behind(&self) -> bool {
        self.state.lock().is_behind()
    }

    /// Removes a session. With a `grace` its user counts as present for that long; without
    /// one the user left for good.
    pub(super) fn exit(&self, session: SessionId, grace: Option<Duration>) -> Exit {
        let mut state = self.state.lock();
        let timer = state.exit(session, grace);
        Exit {
            empty: state.members.is_empty(),
            timer,
        }
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
                let presence = state.present.get_mut(&user)?;
                presence.typing_timer.take_if(|set| *set == due)?;
                let until = presence.typing?.until;
                if until > Instant::now() {
                    presence.typing_timer = Some(until);
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
    fn add_presence(&mut self, user: &User) {
        if let Some(presence) = self.present.get_mut(user.id()) {
            presence.sessions += 1;
            presence.leaving = None;
            return;
        }
        let presence = Presence {
            user: user.clone(),
            sessions: 1,
            leaving: None,
            typing: None,
            typing_timer: None,
            typing_sent_at: None,
        };
        self.present.insert(user.id().clone(), presence);
        self.notify_others(user.id(), EventKind::UserJoined(user.clone()));
    }

    /// Removes a session; see [`Room::exit`].
    fn exit(&mut self, session: SessionId, grace: Option<Duration>) -> Option<(Instant, Timer)> {
        let Member { user, outbox } = self.members.remove(&session)?;
        if let Some(behind) = &self.behind
            && behind.is_same_session(&outbox)
        {
            self.behind = self.find_behind();
        }
        let presence = self.present.get_mut(&user)?;
        presence.sessions -= 1;
        let is_last = presence.sessions == 0;
        if is_last
            || presence
                .typing
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
        self.present.remove(user);
        self.notify_others(user, EventKind::UserLeft(user.clone()));
    }

    /// Records typing; see [`Room::typing`].
    fn typing(
        &mut self,
        session: SessionId,
        on: bool,
        settings: &Settings,
    ) -> Option<(Instant, Timer)> {
        let id = self.members.get(&session)?.user.clone();
        if !on {
            // Only the session that typed can end it.
            let typing = self.present.get(&id)?.typing?;
            if typing.session == session {
                self.stop_typing(&id);
            }
            return None;
        }
        let now = Instant::now();
        let presence = self.present.get_mut(&id)?;
        let until = now + settings.typing_timeout.get();
        let interval = settings.typing_interval.get();
        let is_due = presence
            .typing_sent_at
            .is_none_or(|sent_at| now >= sent_at + interval);
        if !is_due {
            // The others get no further event, but the typing they know of is extended.
            if let Some(typing) = &mut presence.typing {
                *typing = Typing { session, until };
            }
            return None;
        }
        presence.typing = Some(Typing { session, until });
        presence.typing_sent_at = Some(now);
        // One timer per user: while it is set, a later start only moves `until`, which the
        // timer looks at when it fires.
        let is_set = presence.typing_timer.is_some();
        let due = *presence.typing_timer.get_or_insert(until);
        let user = presence.user.clone();
        self.notify_others(&id, EventKind::Typing { user, on: true });
        (!is_set).then_some((due, Timer::Typing { user: id, due }))
    }

    /// Ends the typing of a user; publishes that if they were typing.
    fn stop_typing(&mut self, id: &UserId) {
        let Some(presence) = self.present.get_mut(id) else {
            return;
        };
        if presence.typing.take().is_some() {
            let user = presence.user.clone();
            self.notify_others(id, EventKind::Typing { user, on: false });
        }
    }

    /// Publishes an event about `user` to the sessions of all other users.
    fn notify_others(&mut self, user: &UserId, kind: EventKind) {
        let audience = Audience::OthersThan(user.clone());
        self.deliver(Publication::new(self.name, kind, audience));
    }

    /// Queues `publication` to the members in its audience. The parked ones go to the
    /// scheduler together at the end: it is locked once per publication, not per member.
    fn deliver(&mut self, publication: Publication) -> Delivered {
        let publication = Arc::new(publication);
        let mut delivered = Delivered::default();
        let class = QueueClass::of(self.members.len());
        let (mut to_schedule, mut behind) = (Vec::new(), None);
        for (session, member) in &self.members {
            if !publication.is_for(*session, &member.user) {
                continue;
            }
            match member.outbox.push(&publication, class, &mut to_schedule) {
                PushResult::Queued => {}
                PushResult::Behind => behind = Some(&member.outbox),
                PushResult::Missed => {
                    delivered.missed += 1;
                    continue;
                }
            }
            delivered.sessions += 1;
            if delivered.users.len() < Delivered::MAX_USERS
                && !delivered.users.contains(&member.user)
            {
                delivered.users.push(member.user.clone());
            }
        }
        if behind.is_some() {
            self.behind = behind.cloned();
        }
        self.scheduler.enqueue(class, to_schedule);
        delivered
    }

    /// Returns whether a member is behind. Looks at all of them only when the remembered one
    /// has been served.
    fn is_behind(&mut self) -> bool {
        if let Some(behind) = &self.behind
            && !behind.is_behind()
        {
            self.behind = self.find_behind();
        }
        self.behind.is_some()
    }

    /// Finds the last member that is behind: `deliver` enqueues in the same order, so it is
    /// served last.
    fn find_behind(&self) -> Option<Outbox> {
        let outboxes = self.members.values().map(|member| &member.outbox);
        outboxes.filter(|outbox| outbox.is_behind()).last().cloned()
    }

    /// Returns the users who are present, by name.
    fn users(&self) -> Vec<User> {
        let mut users: Vec<_> = self.present.values().map(|p| p.user.clone()).collect();
        users.sort_by(|a, b| a.name().cmp(b.name()));
        users
    }
}
