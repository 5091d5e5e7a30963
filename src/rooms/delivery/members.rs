//! The sessions in one room, and the fan-out of a publication to them.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::publication::Publication;
use super::outbox::Outbox;
use super::queue_class::QueueClass;
use super::scheduler::DeliveryScheduler;
use super::state::PushResult;
use crate::core::ids::{SessionId, UserId};
use crate::core::position::Position;

/// The sessions in a room. Guarded by the room's lock.
#[derive(Debug)]
pub(in crate::rooms) struct Members {
    sessions: HashMap<SessionId, Member>,
    /// A member that was [behind](Outbox::is_behind) at the last look, if any was. One is
    /// remembered so that a publisher who waits does not look at all members each time.
    behind: Option<Outbox>,
    scheduler: Arc<DeliveryScheduler>,
}

/// A session in a room.
#[derive(Debug)]
struct Member {
    /// None for a client whose user the edge does not know.
    user: Option<UserId>,
    outbox: Outbox,
}

/// The sessions and users that a publication reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// The number of sessions in whose queue it is.
    pub(crate) sessions: usize,
    /// The number of sessions whose queue was too full for it, or which were evicted.
    pub(crate) missed: usize,
    /// The users of the reached sessions, each once, at most [`Delivered::MAX_USERS`].
    pub(crate) users: Vec<UserId>,
    /// Those of the users named in the broadcast who have no session in the room, and none
    /// that was lost there and may return.
    pub(crate) absent: Option<Vec<UserId>>,
    /// The position of the event, if there is a history.
    pub(crate) position: Option<Position>,
    /// Whether the event is in the event log.
    pub(crate) is_stored: bool,
}

impl Delivered {
    /// The maximum number of users listed.
    pub(crate) const MAX_USERS: usize = 100;

    fn count(&mut self, user: Option<&UserId>) {
        self.sessions += 1;
        let Some(user) = user else {
            return;
        };
        if self.users.len() < Self::MAX_USERS && !self.users.contains(user) {
            self.users.push(user.clone());
        }
    }
}

impl Members {
    /// Creates a room's list without sessions.
    pub(in crate::rooms) fn new(scheduler: Arc<DeliveryScheduler>) -> Self {
        Self {
            sessions: HashMap::new(),
            behind: None,
            scheduler,
        }
    }

    /// Adds a session of `user`, if that is known.
    pub(in crate::rooms) fn insert(
        &mut self,
        session: SessionId,
        user: Option<UserId>,
        outbox: Outbox,
    ) {
        self.sessions.insert(session, Member { user, outbox });
    }

    /// Removes a session, and returns its user if it was here and the user is known.
    pub(in crate::rooms) fn remove(&mut self, session: SessionId) -> Option<UserId> {
        let Member { user, outbox } = self.sessions.remove(&session)?;
        if let Some(behind) = &self.behind
            && behind.is_same_session(&outbox)
        {
            self.behind = self.find_behind();
        }
        user
    }

    /// Returns whether a session is here.
    pub(in crate::rooms) fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Returns the user of a session, if it is here and the user is known.
    pub(in crate::rooms) fn user(&self, session: SessionId) -> Option<&UserId> {
        self.sessions.get(&session)?.user.as_ref()
    }

    /// Returns the number of sessions.
    pub(in crate::rooms) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Queues `publication` to the members in its audience. The parked ones go to the
    /// scheduler together at the end: it is locked once per publication, not per member.
    pub(in crate::rooms) fn deliver(&mut self, publication: &Arc<Publication>) -> Delivered {
        let mut delivered = Delivered::default();
        let class = QueueClass::of(self.sessions.len());
        let (mut to_schedule, mut behind) = (Vec::new(), None);
        for (session, member) in &self.sessions {
            let user = member.user.as_ref();
            if !publication.is_for(*session, user) {
                continue;
            }
            match member.outbox.push(publication, class, &mut to_schedule) {
                PushResult::Queued => delivered.count(user),
                PushResult::Behind => {
                    delivered.count(user);
                    behind = Some(&member.outbox);
                }
                PushResult::Missed => delivered.missed += 1,
            }
        }
        if behind.is_some() {
            self.behind = behind.cloned();
        }
        self.scheduler.enqueue(class, to_schedule);
        delivered
    }

    /// Queues `missed` to one session, which is about to become a member.
    pub(in crate::rooms) fn replay(&self, outbox: &Outbox, missed: &[Arc<Publication>]) {
        let class = QueueClass::of(1);
        let mut to_schedule = Vec::new();
        for publication in missed {
            outbox.push(publication, class, &mut to_schedule);
        }
        self.scheduler.enqueue(class, to_schedule);
    }

    /// Returns those of `users` who have no session here, and of whom none `is_expected` back.
    pub(in crate::rooms) fn absent(
        &self,
        users: Option<Vec<UserId>>,
        is_expected: impl Fn(&UserId) -> bool,
    ) -> Option<Vec<UserId>> {
        let is_here = |user: &UserId| {
            let mut members = self.sessions.values();
            members.any(|member| member.user.as_ref() == Some(user))
        };
        let mut users = users?;
        users.retain(|user| !is_here(user) && !is_expected(user));
        Some(users)
    }

    /// Returns whether a member [is behind](Outbox::is_behind). Looks at all of them only when
    /// the remembered one has been served.
    pub(in crate::rooms) fn is_behind(&mut self) -> bool {
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
        let outboxes = self.sessions.values().map(|member| &member.outbox);
        outboxes.filter(|outbox| outbox.is_behind()).last().cloned()
    }
}
