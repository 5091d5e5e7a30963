//! The state machine of a session's delivery. It is pure: it locks nothing, writes nothing
//! and wakes nobody. A transition that must wake or schedule the session returns that as an
//! [`Action`], which its caller runs once it has released the lock.
//!
//! ```text
//!                  poll_next finds nothing
//!        ┌────────────────────────────────────────▶┐
//!     Running                                   Parked ⟲ take_direct
//!        │ ▲◀── resume, or a wake-up by ───────────┘
//!        │ │    hand_back, keep_unsent, revalidate,
//!        │ │    revalidate_early, ping
//!        │ └◀── resume; poll_next ◀──┐
//!        └─ poll_eviction ──────▶ Writing
//!           finds none
//!
//!     each of the three ── evict, close ──▶ Closed
//! ```
//!
//! | state | the session's task | who takes what is queued |
//! |---|---|---|
//! | Running | runs, or has been woken and will run | the task, by `poll_next`, before it parks |
//! | Parked | waits for an event | a scheduler task, by `take_direct` |
//! | Writing | waits for its socket | the task, by `poll_next`, after its write |
//! | Closed | ends, or has ended | nobody: nothing is queued any more |
//!
//! Why no wake-up is lost: the queue and the state change under one lock. A publication that
//! comes before the task parks is found by the `poll_next` that would park it. One that comes
//! later finds the state Parked, and schedules the session. A scheduler task that then cannot
//! write (`hand_back`, `keep_unsent`) wakes it. In the other two states the task polls again
//! by itself. After a write that is complete the state may still be Writing, until the next
//! `poll_next`; that is safe, because the task polls again in this case, too.

use std::sync::Arc;
use std::task::Waker;

use super::super::publication::Publication;
use super::queue::{Admission, Batch, SendQueue};
use super::queue_class::{QueueClass, QueueClasses};
use crate::core::ids::RoomName;

/// The state of a session's delivery, with what is queued for it.
#[derive(Debug)]
pub(super) struct DeliveryState {
    task: TaskState,
    /// Empty once the state is Closed.
    queue: SendQueue,
    /// The session must ask Laravel about its rights again.
    must_revalidate: bool,
    /// The session's periodic revalidation is due early.
    must_revalidate_early: bool,
    /// The session must ping its client.
    must_ping: bool,
    /// A direct write left something in the stream, for the session to write.
    has_unsent: bool,
    /// The scheduler's queues that hold this session.
    scheduled: QueueClasses,
}

/// The four states. A waker is there exactly while the task waits in the inbox.
#[derive(Debug)]
enum TaskState {
    Running,
    Parked(Waker),
    Writing(Waker),
    /// With the reason if the session was evicted. The first reason stays.
    Closed(Option<Eviction>),
}

/// The reason why a session is asked to end from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// The client does not keep up: its queue overflowed.
    Slow,
    /// The token was revoked.
    Revoked,
    /// Laravel disconnected the user.
    Disconnected,
    /// The user has too many sessions, and this is the oldest.
    Superseded,
}

/// Something that a session must handle, in order of precedence.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// The session must end.
    Evicted(Eviction),
    /// The session must ask Laravel about its rights again.
    Revalidate,
    /// The session's periodic revalidation is due early.
    RevalidateEarly,
    /// The session must ping its client: another one may continue it.
    Ping,
    /// A direct write left something unsent, which must leave within the write timeout.
    Unsent,
    /// These publications must be sent, in this order.
    Batch(Batch),
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushResult {
    /// The publication is queued.
    Queued,
    /// The publication is queued, and the session [is behind](DeliveryState::is_behind).
    Behind,
    /// The publication is dropped for this session.
    Missed,
}

/// What the caller of a transition does once it has released the lock.
#[derive(Debug)]
#[must_use]
pub(super) enum Action {
    Nothing,
    /// Gives the session to the scheduler.
    Schedule,
    /// Wakes the session's task.
    Wake(Waker),
}

impl DeliveryState {
    /// Creates the state of a session whose task runs.
    pub(super) fn new(queue: SendQueue) -> Self {
        Self {
            task: TaskState::Running,
            queue,
            must_revalidate: false,
            must_revalidate_early: false,
            must_ping: false,
            has_unsent: false,
            scheduled: QueueClasses::default(),
        }
    }

    /// Queues `publication`. A parked session is scheduled, unless it is in the queue of
    /// `class` already. An overflow evicts the session.
    ///
    /// This never wakes a session that stays: a parked one is served by the scheduler, and
    /// any other polls before it parks.
    pub(super) fn push(
        &mut self,
        publication: &Arc<Publication>,
        class: QueueClass,
    ) -> (PushResult, Action) {
        if self.is_closed() {
            return (PushResult::Missed, Action::Nothing);
        }
        match self.queue.push(publication) {
            Admission::Queued => {}
            Admission::Dropped => return (PushResult::Missed, Action::Nothing),
            Admission::Overflow => return (PushResult::Missed, self.evict(Eviction::Slow)),
        }
        let result = if self.is_behind() {
            PushResult::Behind
        } else {
            PushResult::Queued
        };
        if self.is_parked() && self.scheduled.enter(class) {
            (result, Action::Schedule)
        } else {
            (result, Action::Nothing)
        }
    }

    /// Takes the next event for the session's task: Running. Without one: Parked.
    pub(super) fn poll_next(&mut self, waker: &Waker) -> Option<SessionEvent> {
        if let TaskState::Closed(eviction) = self.task {
            return eviction.map(SessionEvent::Evicted);
        }
        let event = self.take_event();
        if event.is_some() {
            self.task = TaskState::Running;
        } else {
            self.task = TaskState::Parked(self.reuse_waker(waker));
        }
        event
    }

    /// Returns the eviction to a task that waits for its socket. Without one: Writing.
    pub(super) fn poll_eviction(&mut self, waker: &Waker) -> Option<Eviction> {
        if let TaskState::Closed(eviction) = self.task {
            return eviction;
        }
        self.task = TaskState::Writing(self.reuse_waker(waker));
        None
    }

    /// The task runs for another reason than an event of its inbox: Running.
    pub(super) fn resume(&mut self) {
        if !self.is_closed() {
            self.task = TaskState::Running;
        }
    }

    /// Takes what a scheduler task may write for the session: everything while it is parked,
    /// otherwise nothing. The session leaves `class` under the same lock, so a later push
    /// schedules it again.
    pub(super) fn take_direct(&mut self, class: QueueClass) -> Batch {
        self.scheduled.leave(class);
        if self.is_parked() {
            self.queue.take()
        } else {
            Batch::new()
        }
    }

    /// A direct write left something unsent. A parked session is woken to write it: Running.
    /// In any other state the session finds it at its next poll, or has written it already.
    pub(super) fn keep_unsent(&mut self) -> Action {
        self.has_unsent = true;
        self.unpark()
    }

    /// A scheduler task does not write for the session. If something is queued, a parked
    /// session is woken to write for itself: Running.
    pub(super) fn hand_back(&mut self, class: QueueClass) -> Action {
        self.scheduled.leave(class);
        if self.queue.is_empty() {
            Action::Nothing
        } else {
            self.unpark()
        }
    }

    /// Makes the session ask Laravel about its rights again. A parked session is woken:
    /// Running. A write is not interrupted.
    pub(super) fn revalidate(&mut self) -> Action {
        self.must_revalidate = true;
        self.unpark()
    }

    /// Makes the session's periodic revalidation due early. A parked session is woken:
    /// Running. A write is not interrupted.
    pub(super) fn revalidate_early(&mut self) -> Action {
        self.must_revalidate_early = true;
        self.unpark()
    }

    /// Makes the session ping its client. A parked session is woken: Running. A write is not
    /// interrupted.
    pub(super) fn ping(&mut self) -> Action {
        self.must_ping = true;
        self.unpark()
    }

    /// Evicts the session: Closed. What is queued is dropped, and a task that waits is woken,
    /// be it parked or writing. Later evictions change nothing.
    pub(super) fn evict(&mut self, reason: Eviction) -> Action {
        if self.is_closed() {
            return Action::Nothing;
        }
        match self.close_for(Some(reason)) {
            TaskState::Parked(waker) | TaskState::Writing(waker) => Action::Wake(waker),
            TaskState::Running | TaskState::Closed(_) => Action::Nothing,
        }
    }

    /// Ends the delivery because the session ends by itself: Closed. An eviction stays.
    pub(super) fn close(&mut self) {
        if !self.is_closed() {
            self.close_for(None);
        }
    }

    /// Returns the reason of the eviction, if the session was evicted.
    pub(super) fn eviction(&self) -> Option<Eviction> {
        match self.task {
            TaskState::Closed(eviction) => eviction,
            TaskState::Running | TaskState::Parked(_) | TaskState::Writing(_) => None,
        }
    }

    /// Drops what is queued from `room`.
    pub(super) fn forget(&mut self, room: &RoomName) {
        self.queue.forget(room);
    }

    /// Returns whether so much more fits into half of the queue.
    pub(super) fn has_space_for(&self, events: usize, bytes: usize) -> bool {
        self.queue.has_space_for(events, bytes)
    }

    /// Returns the number of queued publications.
    pub(super) fn queued_events(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether more than a quarter of a bound is queued though the session does not
    /// wait for its client: it has not been served.
    pub(super) fn is_behind(&self) -> bool {
        self.queue.is_long() && !matches!(self.task, TaskState::Writing(_))
    }

    fn is_parked(&self) -> bool {
        matches!(self.task, TaskState::Parked(_))
    }

    fn is_closed(&self) -> bool {
        matches!(self.task, TaskState::Closed(_))
    }

    fn take_event(&mut self) -> Option<SessionEvent> {
        if std::mem::take(&mut self.must_revalidate) {
            return Some(SessionEvent::Revalidate);
        }
        if std::mem::take(&mut self.must_revalidate_early) {
            return Some(SessionEvent::RevalidateEarly);
        }
        if std::mem::take(&mut self.must_ping) {
            return Some(SessionEvent::Ping);
        }
        if std::mem::take(&mut self.has_unsent) {
            return Some(SessionEvent::Unsent);
        }
        let batch = self.queue.take();
        (!batch.is_empty()).then_some(SessionEvent::Batch(batch))
    }

    /// Parked becomes Running, and the task is to be woken.
    fn unpark(&mut self) -> Action {
        match std::mem::replace(&mut self.task, TaskState::Running) {
            TaskState::Parked(waker) => Action::Wake(waker),
            other => {
                self.task = other;
                Action::Nothing
            }
        }
    }

    /// Becomes Closed, and returns the state before.
    fn close_for(&mut self, reason: Option<Eviction>) -> TaskState {
        self.queue.take();
        std::mem::replace(&mut self.task, TaskState::Closed(reason))
    }

    /// Returns `waker`, by the clone of the last wait if that wakes the same task.
    fn reuse_waker(&mut self, waker: &Waker) -> Waker {
        match std::mem::replace(&mut self.task, TaskState::Running) {
            TaskState::Parked(mut last) | TaskState::Writing(mut last) => {
                last.clone_from(waker);
                last
            }
            TaskState::Running | TaskState::Closed(_) => waker.clone(),
        }
    }
}
