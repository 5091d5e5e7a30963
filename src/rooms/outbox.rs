//! The queue between rooms and one session, with a bound and a policy for
//! "full": who cannot keep up is told to come back, and nobody waits for him.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Publication;
use crate::ids::RoomName;

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
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Batch,
    bytes: usize,
    recheck: bool,
    departure: Option<Departure>,
    /// The session, if it waits; it does so in one place at a time.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    events: usize,
    bytes: usize,
}

/// Why a session is asked to end from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It cannot keep up: come back and read what was missed.
    Slow,
    /// Its token is no longer good.
    Revoked,
    /// Laravel asked for it.
    Disconnected,
    /// Its user has too many, and it is the oldest.
    Superseded,
}

/// What waits for a session.
#[derive(Debug)]
pub enum Mail {
    /// To end.
    Depart(Departure),
    /// To ask Laravel again what it may see.
    Recheck,
    /// To be sent, in the order in which it was delivered.
    Batch(Batch),
}

/// Publications in their order. Mostly it is one, for which nothing is allocated.
pub type Batch = SmallVec<[Arc<Publication>; 1]>;

/// Makes a queue for at most `events` events and `bytes` bytes. It allocates
/// nothing while it is empty.
pub fn channel(events: usize, bytes: usize) -> (Outbox, Inbox) {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        bounds: Bounds { events, bytes },
    });
    (Outbox(Arc::clone(&shared)), Inbox(shared))
}

impl Outbox {
    /// Queues `publication` and has the session woken by `wake`, without a lock of
    /// its own; never waits. Above half of the bounds an ephemeral
    /// one is dropped. Over the bounds the session is asked to depart. False if
    /// it was not queued.
    pub(super) fn push(&self, publication: &Arc<Publication>, wake: impl FnMut(Waker)) -> bool {
        let mut queue = self.0.queue.lock();
        if queue.departure.is_some() {
            return false;
        }
        let size = publication.size();
        let (events, bytes) = (queue.waiting.len() + 1, queue.bytes + size);
        let bounds = self.0.bounds;
        if publication.is_ephemeral() && (events > bounds.events / 2 || bytes > bounds.bytes / 2) {
            return false;
        }
        // One event alone always fits: its size was checked where it came in.
        if events > bounds.events || (bytes > bounds.bytes && !queue.waiting.is_empty()) {
            let waker = queue.depart(Departure::Slow);
            drop(queue);
            waker.into_iter().for_each(wake);
            return false;
        }
        queue.waiting.push(Arc::clone(publication));
        queue.bytes = bytes;
        let waker = queue.waker.take();
        drop(queue);
        waker.into_iter().for_each(wake);
        true
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.0.queue.lock().waiting.len()
    }

    /// Asks the session to end; what waits is not sent. The first reason counts.
    pub fn depart(&self, why: Departure) {
        let waker = self.0.queue.lock().depart(why);
        wake(waker);
    }

    /// Asks the session to ask Laravel again what it may see.
    pub fn recheck(&self) {
        let mut queue = self.0.queue.lock();
        queue.recheck = true;
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
    pub async fn next(&self) -> Mail {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Inbox::next`] as a single step.
    pub fn poll_next(&self, cx: &Context<'_>) -> Poll<Mail> {
        self.poll_for(cx, Queue::take)
    }

    /// Waits until the session is asked to end, leaving the rest for
    /// [`Inbox::next`]. Cancel-safe.
    pub async fn departure(&self) -> Departure {
        poll_fn(|cx| self.poll_for(cx, |queue| queue.departure)).await
    }

    fn poll_for<T>(&self, cx: &Context<'_>, take: impl FnOnce(&mut Queue) -> Option<T>) -> Poll<T> {
        let mut queue = self.0.queue.lock();
        match take(&mut queue) {
            Some(taken) => Poll::Ready(taken),
            None => {
                queue.waker = Some(cx.waker().clone());
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
    fn take(&mut self) -> Option<Mail> {
        if let Some(why) = self.departure {
            return Some(Mail::Depart(why));
        }
        if std::mem::take(&mut self.recheck) {
            return Some(Mail::Recheck);
        }
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        (!waiting.is_empty()).then_some(Mail::Batch(waiting))
    }

    /// Notes why the session is to end, if that is the first reason; returns who
    /// is to be woken for it.
    fn depart(&mut self, why: Departure) -> Option<Waker> {
        if self.departure.is_some() {
            return None;
        }
        self.departure = Some(why);
        self.waiting = Batch::new();
        self.bytes = 0;
        self.waker.take()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio_tungstenite::tungstenite::Utf8Bytes;

    use super::super::{Audience, What};
    use super::*;
    use crate::auth::User;
    use crate::ids::RoomName;

    fn publication(what: What) -> Arc<Publication> {
        let room = RoomName::ticket("1".parse().unwrap());
        Arc::new(Publication::new(room, what, Audience::All))
    }

    fn message(text: &'static str) -> Arc<Publication> {
        publication(What::Broadcast(Utf8Bytes::from_static(text)))
    }

    fn typing() -> Arc<Publication> {
        publication(What::Typing {
            user: User::for_test(1),
            on: true,
        })
    }

    fn push(outbox: &Outbox, publication: &Arc<Publication>) -> bool {
        outbox.push(publication, Waker::wake)
    }

    #[test]
    fn what_waits_is_taken_at_once_and_in_order() {
        let (outbox, inbox) = channel(4, 1024);
        assert!(push(&outbox, &message("a")) && push(&outbox, &message("b")));
        let Some(Mail::Batch(batch)) = inbox.next().now_or_never() else {
            panic!("nothing came");
        };
        let texts: Vec<_> = batch.iter().map(|p| format!("{:?}", p.what())).collect();
        assert!(
            texts[0].contains("\"a\"") && texts[1].contains("\"b\""),
            "{texts:?}"
        );
        assert!(inbox.next().now_or_never().is_none());
    }

    #[test]
    fn above_half_typing_is_dropped_and_messages_are_not() {
        let (outbox, inbox) = channel(4, 1024);
        assert!(push(&outbox, &typing()) && push(&outbox, &typing()));
        assert!(!push(&outbox, &typing()));
        assert!(push(&outbox, &message("a")) && push(&outbox, &message("b")));
        assert!(inbox.departure().now_or_never().is_none());
    }

    #[test]
    fn a_full_queue_ends_the_session_not_the_publisher() {
        let (outbox, inbox) = channel(2, 1024);
        assert!(push(&outbox, &message("a")) && push(&outbox, &message("b")));
        assert!(!push(&outbox, &message("c")));
        assert_eq!(inbox.departure().now_or_never(), Some(Departure::Slow));
    }

    #[test]
    fn bytes_are_bounded_but_one_event_always_fits() {
        let (outbox, inbox) = channel(100, 10);
        assert!(push(&outbox, &message("longer than ten bytes")));
        assert!(inbox.departure().now_or_never().is_none());
        assert!(!push(&outbox, &message("x")));
        assert_eq!(inbox.departure().now_or_never(), Some(Departure::Slow));
    }
}
