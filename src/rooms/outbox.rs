//! The queue between rooms and one session, with a bound and a policy for
//! "full": who cannot keep up is told to come back, and nobody waits for him.
//!
//! While a session rests, what waits is sent for it by whoever has its turn to deliver;
//! the session itself is woken only for what is more than that.

use std::fmt::Debug;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Publication;
use super::scheduler::{QueueClass, QueueClasses};
use crate::core::ids::RoomName;

/// The sender's side. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Shared>);

/// The session's side.
#[derive(Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    bounds: Bounds,
    direct_writer: Option<Arc<dyn DirectWriter>>,
}

/// Where the publications for a session go.
pub trait DirectWriter: Debug + Send + Sync {
    /// Sends what `take` gives, as far as it goes without waiting.
    fn send(&self, take: &mut dyn FnMut() -> Batch) -> SendResult;
}

/// What became of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// All that was taken has left.
    All,
    /// Not all of it has, which is left to the session.
    Part,
    /// Nothing was taken: something else is left to the session.
    Nothing,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Batch,
    bytes: usize,
    revalidate: bool,
    eviction: Option<Eviction>,
    /// What was sent for the session has not all left.
    unsent: bool,
    /// The session, if it waits; it does so in one place at a time.
    waker: Option<Waker>,
    /// It waits for its socket, and is woken only to end.
    is_writing: bool,
    /// Where it stands in line for its [turn](super::scheduler::DeliveryScheduler).
    queued_in: QueueClasses,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    events: usize,
    bytes: usize,
}

/// Why a session is asked to end from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It cannot keep up: come back and read what was missed.
    Slow,
    /// Its token is no longer good.
    Revoked,
    /// Laravel asked for it.
    Disconnected,
    /// Its user has too many, and it is the oldest.
    Superseded,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushResult {
    /// The session will send it.
    Queued,
    /// The same; but the session [is behind](Outbox::is_behind).
    Behind,
    /// The session will not get it.
    Missed,
}

/// What waits for a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// To end.
    Evicted(Eviction),
    /// To ask Laravel again what it may see.
    Revalidate,
    /// To be sent, in the order in which it was delivered.
    Batch(Batch),
    /// To see that what was sent for it leaves in time.
    Unsent,
}

/// Publications in their order. Mostly it is one, for which nothing is allocated.
pub type Batch = SmallVec<[Arc<Publication>; 1]>;

/// Makes a queue for at most `events` events and `bytes` bytes, which are sent to `direct_writer`
/// while the session rests. It allocates nothing while it is empty.
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
    /// Queues `publication`, never waits. A session that rests is put to `called`, unless
    /// it stands in that lane. Above half of the bounds an ephemeral one is dropped. Over
    /// the bounds the session is asked to depart.
    pub(super) fn push(
        &self,
        publication: &Arc<Publication>,
        class: QueueClass,
        called: &mut Vec<Self>,
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
        // One event alone always fits: its size was checked where it came in.
        if events > bounds.events || (bytes > bounds.bytes && !queue.waiting.is_empty()) {
            let waker = queue.evict(Eviction::Slow);
            drop(queue);
            wake(waker);
            return PushResult::Missed;
        }
        queue.waiting.push(Arc::clone(publication));
        queue.bytes = bytes;
        let pushed = if queue.is_behind(bounds) {
            PushResult::Behind
        } else {
            PushResult::Queued
        };
        if queue.is_parked() && queue.queued_in.enter(class) {
            drop(queue);
            called.push(self.clone());
        }
        pushed
    }

    /// It is the session's turn. While it rests, what waits is sent for it; otherwise it
    /// will look for that itself.
    pub(super) fn deliver_now(&self, class: QueueClass) {
        let Some(direct_writer) = &self.0.direct_writer else {
            return self.wake(class);
        };
        let mut take = || self.0.queue.lock().take_for_session(class);
        match direct_writer.send(&mut take) {
            SendResult::All => {}
            SendResult::Part => {
                let mut queue = self.0.queue.lock();
                queue.unsent = true;
                let waker = queue.waker.take();
                drop(queue);
                wake(waker);
            }
            // It may rest again by now, with something that came meanwhile.
            SendResult::Nothing => self.wake(class),
        }
    }

    /// Wakes the session for what waits.
    pub(super) fn wake(&self, class: QueueClass) {
        let mut queue = self.0.queue.lock();
        queue.queued_in.leave(class);
        if queue.waiting.is_empty() || !queue.is_parked() {
            return;
        }
        let waker = queue.waker.take();
        drop(queue);
        wake(waker);
    }

    /// Whether they are of one session.
    pub(super) fn is_same_session(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether much waits, and not for the client: the session has not had its turn.
    pub(super) fn is_behind(&self) -> bool {
        self.0.queue.lock().is_behind(self.0.bounds)
    }

    /// Events that wait.
    pub fn queued_events(&self) -> usize {
        self.0.queue.lock().waiting.len()
    }

    /// Asks the session to end; what waits is not sent. The first reason counts.
    pub fn evict(&self, why: Eviction) {
        let waker = self.0.queue.lock().evict(why);
        wake(waker);
    }

    /// Asks the session to ask Laravel again what it may see.
    pub fn revalidate(&self) {
        let mut queue = self.0.queue.lock();
        queue.revalidate = true;
        let waker = queue.waker.take();
        drop(queue);
        wake(waker);
    }
}

/// Wakes a session, without the lock: it will want that itself.
fn wake(session: Option<Waker>) {
    if let Some(session) = session {
        session.wake();
    }
}

impl Inbox {
    /// Waits for something and takes it; of publications all that wait, leaving
    /// nothing allocated. Cancel-safe.
    pub async fn next(&self) -> SessionEvent {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Inbox::next`] as a single step.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<SessionEvent> {
        self.poll_for(cx, false, Queue::take)
    }

    /// The session does something else than to wait for [`Inbox::next`]: nothing is sent
    /// for it until it waits again.
    pub fn set_busy(&self) {
        self.0.queue.lock().waker = None;
    }

    /// Waits until the session is asked to end, while it writes; the rest is left for
    /// [`Inbox::next`]. Cancel-safe.
    pub async fn evicted(&self) -> Eviction {
        poll_fn(|cx| self.poll_for(cx, true, |queue| queue.eviction)).await
    }

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

    /// Drops what waits from `room`: the session is no longer in it.
    pub fn forget(&self, room: RoomName) {
        let mut queue = self.0.queue.lock();
        queue.waiting.retain(|waiting| waiting.room() != room);
        queue.bytes = queue.waiting.iter().map(|waiting| waiting.size()).sum();
    }
}

impl Queue {
    fn take(&mut self) -> Option<SessionEvent> {
        if let Some(why) = self.eviction {
            return Some(SessionEvent::Evicted(why));
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

    /// What is to be sent for the session, in its turn.
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

    /// Whether the session waits for nothing but mail.
    fn is_parked(&self) -> bool {
        self.waker.is_some() && !self.is_writing
    }

    fn is_behind(&self, bounds: Bounds) -> bool {
        let is_much = self.waiting.len() > bounds.events / 4 || self.bytes > bounds.bytes / 4;
        is_much && !self.is_writing
    }

    /// Notes why the session is to end, if that is the first reason; returns who
    /// is to be woken for it.
    fn evict(&mut self, why: Eviction) -> Option<Waker> {
        if self.eviction.is_some() {
            return None;
        }
        self.eviction = Some(why);
        self.waiting = Batch::new();
        self.bytes = 0;
        self.waker.take()
    }
}

#[cfg(test)]
mod tests;
