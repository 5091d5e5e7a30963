//! The bounded queue between the rooms and one session. Rooms push into the [`Outbox`] and
//! never wait; the session takes from the [`Inbox`]. A session whose queue overflows is
//! evicted: its client does not keep up, and reads what it missed when it reconnects.
//!
//! A session's delivery is in one of four states. All but the last are read off [`Queue`],
//! under its lock, so either the session takes what is queued or a scheduler task does:
//!
//! | state | `waker` | `is_writing` | the session's task |
//! |---|---|---|---|
//! | busy | none | either | runs, or has been woken; it polls the inbox when it is done |
//! | parked | some | false | waits in [`Inbox::poll_next`] |
//! | writing | some | true | waits for its socket, and in [`Inbox::evicted`] meanwhile |
//! | gone | – | – | has ended: evicted, or left busy or writing until its outboxes drop |
//!
//! Busy becomes parked when `poll_next` finds nothing, and writing when `evicted` finds no
//! eviction. Both become busy when one of these two returns something, when the waker is
//! taken to wake the task, and by [`Inbox::set_busy`]. A finished write leaves the state at
//! writing until the next `poll_next`.
//!
//! Only a parked session is delivered to by others: [`Outbox::push`] hands it to the
//! [scheduler](super::scheduler), whose task writes to its stream by
//! [`Outbox::deliver_now`] without waking it. The session is woken for what that leaves
//! unsent, for an eviction, and for a revalidation.

use std::fmt::Debug;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::super::Publication;
use super::scheduler::{QueueClass, QueueClasses};
use crate::core::ids::RoomName;

/// The rooms' side of the queue. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Shared>);

/// The session's side of the queue. One task polls it.
#[derive(Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The innermost lock: taken under a room's lock and under a stream's lock. Nothing is
    /// locked and nobody is woken while it is held.
    queue: Mutex<Queue>,
    bounds: Bounds,
    direct_writer: Option<Arc<dyn DirectWriter>>,
}

/// Writes to a session's stream from outside the session's task.
pub trait DirectWriter: Debug + Send + Sync {
    /// Writes the batch that `take` returns, as far as the stream accepts it without
    /// waiting. `take` is called under the stream's lock, at most once, and not at all while
    /// an earlier batch is unsent: so batches leave in the order in which they are taken.
    fn send(&self, take: &mut dyn FnMut() -> Batch) -> SendResult;
}

/// The result of [`DirectWriter::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// The stream accepted and flushed the whole batch, which may be empty.
    All,
    /// Some of the batch is unsent, or the write failed: the session must continue.
    Part,
    /// `take` was not called: an earlier batch is unsent, and the session writes it.
    Nothing,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Batch,
    /// The sizes of `waiting`, added up.
    bytes: usize,
    revalidate: bool,
    /// Set once. From then on nothing is queued.
    eviction: Option<Eviction>,
    /// A direct write left something unsent in the stream, for the session to write.
    unsent: bool,
    /// Wakes the session's task, which waits in one place at a time.
    waker: Option<Waker>,
    /// The task last waited for its socket, where only an eviction interrupts it.
    is_writing: bool,
    /// The scheduler's queues that hold this session.
    queued_in: QueueClasses,
}

/// The most that a queue holds.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    events: usize,
    bytes: usize,
}

/// The reason why a session is asked to end from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The client does not keep up: its queue overflowed.
    Slow,
    /// The token was revoked.
    Revoked,
    /// Laravel disconnected the user.
    Disconnected,
    /// The user has too many sessions, and this is the oldest.
    Superseded,
}

/// The result of [`Outbox::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rooms) enum PushResult {
    /// The publication is queued.
    Queued,
    /// The publication is queued, and the session [is behind](Outbox::is_behind).
    Behind,
    /// The publication is dropped for this session.
    Missed,
}

/// Something that a session must handle, in order of precedence.
#[derive(Debug)]
pub enum SessionEvent {
    /// The session must end.
    Evicted(Eviction),
    /// The session must ask Laravel about its rights again.
    Revalidate,
    /// These publications must be sent, in this order.
    Batch(Batch),
    /// A direct write left something unsent, which must leave within the write timeout.
    Unsent,
}

/// Publications in the order of their delivery. A batch of one allocates nothing.
pub type Batch = SmallVec<[Arc<Publication>; 1]>;

/// Creates a queue of at most `events` publications and `bytes` bytes. While the session is
/// parked, the scheduler sends them by `direct_writer`; without one it wakes the session.
/// An empty queue holds no heap memory of its own.
pub fn channel(
    events: usize,
    bytes: usize,
    direct_writer: Option<Arc<dyn DirectWriter>>,
) -> (Outbox, Inbox) {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        bounds: Bounds { events, bytes },
        direct_writer,
    });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl Outbox {
    /// Queues `publication` without waiting. A parked session is added to `to_schedule`, which
    /// the caller gives to the scheduler, unless it is in the queue of `class` already.
    ///
    /// Above half of a bound an ephemeral publication is dropped. Above a bound the session
    /// is evicted as [`Eviction::Slow`].
    pub(in crate::rooms) fn push(
        &self,
        publication: &Arc<Publication>,
        class: QueueClass,
        to_schedule: &mut Vec<Self>,
    ) -> PushResult {
        let mut queue = self.0.queue.lock();
        if queue.eviction.is_some() {
            return PushResult::Missed;
        }
        let size = publication.size();
        let (events, bytes) = (queue.waiting.len() + 1, queue.bytes + size);
        let bounds = self.0.bounds;
        if publication.is_ephemeral() && (events > bounds.events / 2 || bytes > bounds.bytes / 2) {
            return PushResult::Missed;
        }
        // One event alone always fits: its size was checked on arrival.
        if events > bounds.events || (bytes > bounds.bytes && !queue.waiting.is_empty()) {
            let waker = queue.evict(Eviction::Slow);
            drop(queue);
            wake(waker);
            return PushResult::Missed;
        }
        queue.waiting.push(Arc::clone(publication));
        queue.bytes = bytes;
        let result = if queue.is_behind(bounds) {
            PushResult::Behind
        } else {
            PushResult::Queued
        };
        // No wake here: a parked session stays parked while the scheduler writes for it. A
        // busy or writing one polls the inbox before it parks, and finds this then.
        if queue.is_parked() && queue.queued_in.enter(class) {
            drop(queue);
            to_schedule.push(self.clone());
        }
        result
    }

    /// Writes what is queued to the session's stream if the session is parked. Otherwise
    /// leaves it to the session, which polls its inbox before it parks again.
    ///
    /// Locks the stream, then the queue. The queue is emptied under the stream's lock, so
    /// nothing that the session writes later can overtake the batch.
    pub(in crate::rooms) fn deliver_now(&self, class: QueueClass) {
        let Some(direct_writer) = &self.0.direct_writer else {
            return self.wake(class);
        };
        let mut take = || self.0.queue.lock().take_for_session(class);
        match direct_writer.send(&mut take) {
            SendResult::All => {}
            // The session may have been woken meanwhile: then it has no waker here, and
            // finds the flag at its next poll.
            SendResult::Part => {
                let mut queue = self.0.queue.lock();
                queue.unsent = true;
                let waker = queue.waker.take();
                drop(queue);
                wake(waker);
            }
            // `take` has not taken the session off its class, and by now the session may have
            // written the earlier batch and be parked. A publication that came after that
            // was not scheduled again, so this must wake the session for it.
            SendResult::Nothing => self.wake(class),
        }
    }

    /// Takes the session off its `class`, and wakes it if it is parked with something queued:
    /// it then writes for itself.
    pub(in crate::rooms) fn wake(&self, class: QueueClass) {
        let mut queue = self.0.queue.lock();
        queue.queued_in.leave(class);
        if queue.waiting.is_empty() || !queue.is_parked() {
            return;
        }
        let waker = queue.waker.take();
        drop(queue);
        wake(waker);
    }

    /// Returns whether both are outboxes of one session.
    pub(in crate::rooms) fn is_same_session(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether more than a quarter of a bound is queued though the session does not
    /// wait for its client: it has not been served.
    pub(in crate::rooms) fn is_behind(&self) -> bool {
        self.0.queue.lock().is_behind(self.0.bounds)
    }

    /// Returns the number of queued publications.
    pub fn queued_events(&self) -> usize {
        self.0.queue.lock().waiting.len()
    }

    /// Asks the session to end, and drops what is queued. The first reason counts. Wakes the
    /// session whether it is parked or writing.
    pub fn evict(&self, reason: Eviction) {
        let waker = self.0.queue.lock().evict(reason);
        wake(waker);
    }

    /// Makes the session ask Laravel about its rights again, and wakes it.
    pub fn revalidate(&self) {
        let mut queue = self.0.queue.lock();
        queue.revalidate = true;
        let waker = queue.waker.take();
        drop(queue);
        wake(waker);
    }
}

/// Wakes a session's task. Called without the queue's lock, which the task takes at once.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Inbox {
    /// Waits for an event and takes it. A [`SessionEvent::Batch`] holds all that is queued,
    /// and the queue keeps no memory for it. Cancel-safe.
    pub async fn next(&self) -> SessionEvent {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for what [`Inbox::next`] returns. Pending means that the session is parked.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<SessionEvent> {
        self.poll_for(cx, false, Queue::take)
    }

    /// Takes the session out of the parked state: nothing is delivered directly until it polls
    /// [`Inbox::poll_next`] again. The task calls this before it handles anything else than
    /// an event of this inbox, so that its own frames keep their place.
    pub fn set_busy(&self) {
        self.0.queue.lock().waker = None;
    }

    /// Waits for an eviction while the session writes. Everything else is left for
    /// [`Inbox::next`]. Cancel-safe.
    pub async fn evicted(&self) -> Eviction {
        poll_fn(|cx| self.poll_for(cx, true, |queue| queue.eviction)).await
    }

    /// Takes by `take`, or parks the task with `is_writing`. Both happen under one lock, so
    /// no event falls between the look and the registration of the waker.
    fn poll_for<T>(
        &self,
        cx: &Context<'_>,
        is_writing: bool,
        take: impl FnOnce(&mut Queue) -> Option<T>,
    ) -> Poll<T> {
        let mut queue = self.0.queue.lock();
        queue.is_writing = is_writing;
        match take(&mut queue) {
            Some(taken) => {
                queue.waker = None;
                Poll::Ready(taken)
            }
            None => {
                match &mut queue.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// Drops what is queued from `room`, which the session has left.
    pub fn forget(&self, room: RoomName) {
        let mut queue = self.0.queue.lock();
        queue.waiting.retain(|waiting| waiting.room() != room);
        queue.bytes = queue.waiting.iter().map(|waiting| waiting.size()).sum();
    }
}

impl Queue {
    /// Takes the next event for the session's own task. An eviction is never used up.
    fn take(&mut self) -> Option<SessionEvent> {
        if let Some(reason) = self.eviction {
            return Some(SessionEvent::Evicted(reason));
        }
        if std::mem::take(&mut self.revalidate) {
            return Some(SessionEvent::Revalidate);
        }
        if std::mem::take(&mut self.unsent) {
            return Some(SessionEvent::Unsent);
        }
        let waiting = self.take_waiting();
        (!waiting.is_empty()).then_some(SessionEvent::Batch(waiting))
    }

    /// Takes what a scheduler task may send; nothing unless the session is parked. Leaves the
    /// class first, so that a later push schedules the session again.
    fn take_for_session(&mut self, class: QueueClass) -> Batch {
        self.queued_in.leave(class);
        if self.is_parked() {
            self.take_waiting()
        } else {
            Batch::new()
        }
    }

    fn take_waiting(&mut self) -> Batch {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Returns whether the session waits for its next event and for nothing else of its own.
    fn is_parked(&self) -> bool {
        self.waker.is_some() && !self.is_writing
    }

    fn is_behind(&self, bounds: Bounds) -> bool {
        let is_much = self.waiting.len() > bounds.events / 4 || self.bytes > bounds.bytes / 4;
        is_much && !self.is_writing
    }

    /// Records the eviction unless there is one; returns the waker to use once the lock is
    /// released.
    fn evict(&mut self, reason: Eviction) -> Option<Waker> {
        if self.eviction.is_some() {
            return None;
        }
        self.eviction = Some(reason);
        self.waiting = Batch::new();
        self.bytes = 0;
        self.waker.take()
    }
}

#[cfg(test)]
mod tests;
