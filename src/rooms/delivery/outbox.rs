//! The two ends of a session's delivery, around one locked [`DeliveryState`]: the rooms push
//! into the [`Outbox`] and never wait, the session's task polls the [`Inbox`]. A session
//! whose queue overflows is evicted: its client does not keep up, and reads what it missed
//! when it reconnects.
//!
//! Every method here locks the state, makes one transition, unlocks, and then runs the
//! transition's action. The lock is innermost: nothing is locked and nobody is woken under
//! it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::super::publication::Publication;
use super::direct_writer::{DirectWriter, SendResult};
use super::queue::SendQueue;
use super::queue_class::QueueClass;
use super::state::{Action, DeliveryState, Eviction, PushResult, SessionEvent};
use crate::core::ids::RoomName;
use crate::runtime::sync::Mutex;

/// The rooms' end. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(Arc<Shared>);

/// The session's end. One task polls it.
#[derive(Debug)]
pub(crate) struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<DeliveryState>,
    direct_writer: Option<Arc<dyn DirectWriter>>,
}

/// Creates the two ends of a queue of at most `events` publications and `bytes` bytes. While
/// the session is parked, the scheduler sends them by `direct_writer`; without one it wakes
/// the session. An empty queue holds no heap memory of its own.
pub(crate) fn channel(
    events: usize,
    bytes: usize,
    direct_writer: Option<Arc<dyn DirectWriter>>,
) -> (Outbox, Inbox) {
    let shared = Arc::new(Shared {
        state: Mutex::new(DeliveryState::new(SendQueue::new(events, bytes))),
        direct_writer,
    });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl Outbox {
    /// Queues `publication` without waiting. A session that must be scheduled is added to
    /// `to_schedule`, which the caller gives to the scheduler.
    ///
    /// Above half of a bound an ephemeral publication is dropped. Above a bound the session
    /// is evicted as [`Eviction::Slow`].
    pub(super) fn push(
        &self,
        publication: &Arc<Publication>,
        class: QueueClass,
        to_schedule: &mut Vec<Self>,
    ) -> PushResult {
        let (result, action) = self.0.state.lock().push(publication, class);
        match action {
            Action::Schedule => to_schedule.push(self.clone()),
            other => run(other),
        }
        result
    }

    /// Writes what is queued to the session's stream if the session is parked. Otherwise
    /// leaves it to the session, which polls its inbox before it parks again.
    ///
    /// Locks the stream, then the state. The queue is emptied under the stream's lock, so
    /// nothing that the session writes later can overtake the batch.
    pub(super) fn deliver_now(&self, class: QueueClass) {
        let Some(direct_writer) = &self.0.direct_writer else {
            return self.hand_back(class);
        };
        let mut take = || self.0.state.lock().take_direct(class);
        match direct_writer.send(&mut take) {
            SendResult::All => {}
            SendResult::Part => self.act(DeliveryState::keep_unsent),
            // `take` was not called, so the session is still in its class. By now it may have
            // written the earlier batch and be parked, and a publication that came after that
            // was not scheduled again. So this must wake the session for it.
            SendResult::Nothing => self.hand_back(class),
        }
    }

    /// Takes the session off its `class`, and wakes it if it is parked with something queued:
    /// it then writes for itself.
    pub(super) fn hand_back(&self, class: QueueClass) {
        self.act(|state| state.hand_back(class));
    }

    /// Returns whether both are outboxes of one session.
    pub(super) fn is_same_session(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether more than a quarter of a bound is queued though the session does not
    /// wait for its client: it has not been served.
    pub(super) fn is_behind(&self) -> bool {
        self.0.state.lock().is_behind()
    }

    /// Returns whether so much more fits into half of the queue.
    pub(in crate::rooms) fn has_space_for(&self, events: usize, bytes: usize) -> bool {
        self.0.state.lock().has_space_for(events, bytes)
    }

    /// Returns the number of queued publications.
    pub(crate) fn queued_events(&self) -> usize {
        self.0.state.lock().queued_events()
    }

    /// Asks the session to end, and drops what is queued. The first reason counts. Wakes the
    /// session whether it is parked or writing.
    pub(crate) fn evict(&self, reason: Eviction) {
        self.act(|state| state.evict(reason));
    }

    /// Makes the session ask Laravel about its rights again. Wakes it if it is parked.
    pub(crate) fn revalidate(&self) {
        self.act(DeliveryState::revalidate);
    }

    /// Makes the session's periodic revalidation due early. Wakes the session if it is parked.
    pub(crate) fn revalidate_early(&self) {
        self.act(DeliveryState::revalidate_early);
    }

    /// Makes the session ping its client. Wakes it if it is parked.
    pub(crate) fn ping(&self) {
        self.act(DeliveryState::ping);
    }

    /// Returns the reason of the eviction, if the session was evicted and has not ended yet.
    pub(in crate::rooms) fn eviction(&self) -> Option<Eviction> {
        self.0.state.lock().eviction()
    }

    fn act(&self, transition: impl FnOnce(&mut DeliveryState) -> Action) {
        let action = transition(&mut self.0.state.lock());
        run(action);
    }
}

/// Runs the action of a transition that schedules nothing. Called without the lock, which a
/// woken task takes at once.
fn run(action: Action) {
    if let Action::Wake(waker) = action {
        waker.wake();
    }
}

impl Inbox {
    /// Waits for an event and takes it. Cancel-safe.
    #[cfg(test)]
    pub(crate) async fn next(&self) -> SessionEvent {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for an event and takes it. A [`SessionEvent::Batch`] holds all that is queued,
    /// and the queue keeps no memory for it. Pending means that the session is parked, or
    /// that [`Inbox::close`] was called.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<SessionEvent> {
        self.0
            .state
            .lock()
            .poll_next(cx.waker())
            .map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the session out of the parked state: nothing is delivered directly until it polls
    /// [`Inbox::poll_next`] again. The task calls this before it handles anything else than
    /// an event of this inbox, so that its own frames keep their place.
    pub(crate) fn resume(&self) {
        self.0.state.lock().resume();
    }

    /// Waits for an eviction while the session writes. Everything else is left for
    /// [`Inbox::poll_next`]. Cancel-safe.
    pub(crate) async fn evicted(&self) -> Eviction {
        poll_fn(|cx| {
            let eviction = self.0.state.lock().poll_eviction(cx.waker());
            eviction.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Drops what is queued from `room`, which the session has left.
    pub(crate) fn forget(&self, room: &RoomName) {
        self.0.state.lock().forget(room);
    }

    /// Ends the delivery: what is queued is dropped, and nothing more is. The session polls
    /// the inbox no more.
    pub(crate) fn close(&self) {
        self.0.state.lock().close();
    }
}

/// Releases the queue of a session that ends without [`Inbox::close`]: its task has panicked.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
