//! One room: its members, who of them is present, and the order of what is said.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::outbox::PushResult;
use super::scheduler::{DeliveryScheduler, QueueClass};
use super::{Audience, EventKind, Outbox, Publication, Settings};
use crate::auth::User;
use crate::core::ids::{RoomName, SessionId, UserId};

/// A room. Its lock is held for a whole fan-out, so that every member sees the
/// same order; deliver does nothing but push to queues that never wait.
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
    /// One who was behind when somebody looked; none if all were not.
    behind: Option<Outbox>,
    scheduler: Arc<DeliveryScheduler>,
}

#[derive(Debug)]
struct Member {
    user: UserId,
    outbox: Outbox,
}

#[derive(Debug)]
struct Presence {
    user: User,
    sessions: usize,
    /// When his grace ends, if all his sessions went away.
    leaving: Option<Instant>,
    typing: Option<Typing>,
    /// When his one timer for typing fires, if it is set.
    typing_timer: Option<Instant>,
    last_told: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Typing {
    session: SessionId,
    until: Instant,
}

/// Something that a room must do later. It may fire in vain: what it was set
/// for can be over, even the room, which may be there again under its old name.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    /// The grace of a user whose sessions went away.
    Leaving { user: UserId },
    /// The typing of a user.
    Typing { user: UserId, due: Instant },
}

/// What follows from a session's exit.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) empty: bool,
    pub(super) timer: Option<(Instant, Timer)>,
}

/// Whom a publication reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Sessions whose queue took it.
    pub sessions: usize,
    /// Sessions that were too slow for it.
    pub missed: usize,
    /// The users of those sessions, each once, [`Delivered::MAX_USERS`] at most.
    pub users: Vec<UserId>,
}

impl Delivered {
    /// How many users are listed at most.
    pub const MAX_USERS: usize = 100;
}

impl Room {
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

    pub(super) fn name(&self) -> RoomName {
        self.name
    }

    /// Lets a session in and says who is here then, in one step.
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

    pub(super) fn users(&self) -> Vec<User> {
        self.state.lock().users()
    }

    pub(super) fn session_count(&self) -> usize {
        self.state.lock().members.len()
    }

    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.state.lock().members.contains_key(&session)
    }

    /// Queues `publication` to everyone whom it is for.
    pub(super) fn deliver(&self, publication: Publication) -> Delivered {
        self.state.lock().deliver(publication)
    }

    /// Whether sessions have not had their turn, though much waits for them.
    pub(super) fn is_behind(&self) -> bool {
        self.state.lock().is_behind()
    }

    /// Takes a session out. With a `grace` its user counts as present for that
    /// long; without one he left for good.
    pub(super) fn exit(&self, session: SessionId, grace: Option<Duration>) -> Exit {
        let mut state = self.state.lock();
        let timer = state.exit(session, grace);
        Exit {
            empty: state.members.is_empty(),
            timer,
        }
    }

    /// Notes that a session's user types or stopped, tells the others if they
    /// should know, and returns when to look again.
    pub(super) fn typing(
        &self,
        session: SessionId,
        on: bool,
        settings: &Settings,
    ) -> Option<(Instant, Timer)> {
        self.state.lock().typing(session, on, settings)
    }

    /// Does what is due; returns when to look again.
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
            last_told: None,
        };
        self.present.insert(user.id().clone(), presence);
        self.notify_others(user.id(), EventKind::UserJoined(user.clone()));
    }

    fn exit(&mut self, session: SessionId, grace: Option<Duration>) -> Option<(Instant, Timer)> {
        let Member { user, outbox } = self.members.remove(&session)?;
        if let Some(behind) = &self.behind
            && behind.is_same_session(&outbox)
        {
            self.behind = self.find_behind();
        }
        let presence = self.present.get_mut(&user)?;
        presence.sessions -= 1;
        let last = presence.sessions == 0;
        if last
            || presence
                .typing
                .is_some_and(|typing| typing.session == session)
        {
            self.stop_typing(&user);
        }
        if !last {
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

    fn remove_presence(&mut self, user: &UserId) {
        self.present.remove(user);
        self.notify_others(user, EventKind::UserLeft(user.clone()));
    }

    fn typing(
        &mut self,
        session: SessionId,
        on: bool,
        settings: &Settings,
    ) -> Option<(Instant, Timer)> {
        let id = self.members.get(&session)?.user.clone();
        if !on {
            // Only the tab that typed can say that it stopped.
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
        let due = presence.last_told.is_none_or(|told| now >= told + interval);
        if !due {
            // Not told again, but what was told goes on being true.
            if let Some(typing) = &mut presence.typing {
                *typing = Typing { session, until };
            }
            return None;
        }
        presence.typing = Some(Typing { session, until });
        presence.last_told = Some(now);
        let is_set = presence.typing_timer.is_some();
        let due = *presence.typing_timer.get_or_insert(until);
        let user = presence.user.clone();
        self.notify_others(&id, EventKind::Typing { user, on: true });
        (!is_set).then_some((due, Timer::Typing { user: id, due }))
    }

    fn stop_typing(&mut self, id: &UserId) {
        let Some(presence) = self.present.get_mut(id) else {
            return;
        };
        if presence.typing.take().is_some() {
            let user = presence.user.clone();
            self.notify_others(id, EventKind::Typing { user, on: false });
        }
    }

    fn notify_others(&mut self, user: &UserId, what: EventKind) {
        let audience = Audience::OthersThan(user.clone());
        self.deliver(Publication::new(self.name, what, audience));
    }

    fn deliver(&mut self, publication: Publication) -> Delivered {
        let publication = Arc::new(publication);
        let mut delivered = Delivered::default();
        let class = QueueClass::of(self.members.len());
        let (mut called, mut behind) = (Vec::new(), None);
        for (session, member) in &self.members {
            if !publication.is_for(*session, &member.user) {
                continue;
            }
            match member.outbox.push(&publication, class, &mut called) {
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
        self.scheduler.enqueue(class, called);
        delivered
    }

    fn is_behind(&mut self) -> bool {
        if let Some(behind) = &self.behind
            && !behind.is_behind()
        {
            self.behind = self.find_behind();
        }
        self.behind.is_some()
    }

    /// The last of them, as their turn comes about in this order.
    fn find_behind(&self) -> Option<Outbox> {
        let outboxes = self.members.values().map(|member| &member.outbox);
        outboxes.filter(|outbox| outbox.is_behind()).last().cloned()
    }

    fn users(&self) -> Vec<User> {
        let mut users: Vec<_> = self.present.values().map(|p| p.user.clone()).collect();
        users.sort_by(|a, b| a.name().cmp(b.name()));
        users
    }
}
