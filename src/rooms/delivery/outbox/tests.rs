use std::fmt::Debug;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Wake;

use futures_util::FutureExt;

use super::super::super::{Audience, EventKind};
use super::super::queue::Batch;
use super::*;
use crate::auth::User;
use crate::core::ids::RoomName;

fn publication(what: EventKind) -> Arc<Publication> {
    let room = RoomName::ticket("1".parse().unwrap());
    Arc::new(Publication::new(room, what, Audience::All))
}

fn message(text: &'static str) -> Arc<Publication> {
    publication(EventKind::Broadcast(text.to_owned()))
}

fn typing() -> Arc<Publication> {
    publication(EventKind::Typing {
        user: User::for_test(1),
        on: true,
    })
}

fn push(outbox: &Outbox, publication: &Arc<Publication>) -> bool {
    outbox.push(publication, QueueClass::Small, &mut Vec::new()) != PushResult::Missed
}

#[test]
fn queued_events_are_taken_together_in_order() {
    let (outbox, inbox) = channel(4, 1024, None);
    assert!(push(&outbox, &message("a")) && push(&outbox, &message("b")));
    let Some(SessionEvent::Batch(batch)) = inbox.next().now_or_never() else {
        panic!("nothing came");
    };
    let texts: Vec<_> = batch.iter().map(|p| format!("{:?}", p.kind())).collect();
    assert!(
        texts[0].contains("\"a\"") && texts[1].contains("\"b\""),
        "{texts:?}"
    );
    assert!(inbox.next().now_or_never().is_none());
}

#[test]
fn queue_above_half_drops_typing_and_keeps_messages() {
    let (outbox, inbox) = channel(4, 1024, None);
    assert!(push(&outbox, &typing()) && push(&outbox, &typing()));
    assert!(!push(&outbox, &typing()));
    assert!(push(&outbox, &message("a")) && push(&outbox, &message("b")));
    assert!(inbox.evicted().now_or_never().is_none());
}

#[test]
fn full_queue_evicts_its_session() {
    let (outbox, inbox) = channel(2, 1024, None);
    assert!(push(&outbox, &message("a")) && push(&outbox, &message("b")));
    assert!(!push(&outbox, &message("c")));
    assert_eq!(inbox.evicted().now_or_never(), Some(Eviction::Slow));
}

#[test]
fn queue_bytes_are_bounded_but_one_event_always_fits() {
    let (outbox, inbox) = channel(100, 10, None);
    assert!(push(&outbox, &message("longer than ten bytes")));
    assert!(inbox.evicted().now_or_never().is_none());
    assert!(!push(&outbox, &message("x")));
    assert_eq!(inbox.evicted().now_or_never(), Some(Eviction::Slow));
}

/// Whether the session was woken since the last [`Woken::take`].
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

/// Takes everything that is queued, and leaves the session parked.
fn park(inbox: &Inbox, woken: &Arc<Woken>) {
    let waker = Arc::clone(woken).into();
    while inbox.poll_next(&Context::from_waker(&waker)).is_ready() {}
}

fn session(events: usize, bytes: usize) -> (Outbox, Inbox, Arc<Woken>) {
    let ((outbox, inbox), woken) = (channel(events, bytes, None), Woken(false.into()).into());
    park(&inbox, &woken);
    (outbox, inbox, woken)
}

#[test]
fn session_is_scheduled_once_per_queue_class_until_served() {
    let (outbox, inbox, woken) = session(100, 1024);
    for class in [QueueClass::Small, QueueClass::Large] {
        let mut to_schedule = Vec::new();
        for text in ["a", "b"] {
            assert_eq!(
                outbox.push(&message(text), class, &mut to_schedule),
                PushResult::Queued
            );
        }
        assert_eq!(to_schedule.len(), 1);
    }
    assert!(!woken.take());
    outbox.deliver_now(QueueClass::Small);
    assert!(woken.take());
    park(&inbox, &woken);
    // It has all.
    outbox.deliver_now(QueueClass::Large);
    assert!(!woken.take());
    let mut to_schedule = Vec::new();
    outbox.push(&message("c"), QueueClass::Large, &mut to_schedule);
    assert_eq!(to_schedule.len(), 1);
}

#[test]
fn revalidation_or_eviction_wakes_a_scheduled_session() {
    let urgent: [fn(&Outbox); 2] = [Outbox::revalidate, |outbox| outbox.evict(Eviction::Revoked)];
    for happens in urgent {
        let (outbox, _inbox, woken) = session(8, 1024);
        push(&outbox, &message("a"));
        happens(&outbox);
        assert!(woken.take());
    }
}

/// A stream that accepts batches until it is full.
#[derive(Debug, Default)]
struct Basin {
    sent: Mutex<Vec<String>>,
    full: AtomicBool,
}

impl DirectWriter for Basin {
    fn send(&self, take: &mut dyn FnMut() -> Batch) -> SendResult {
        let mut sent = self.sent.lock();
        let full = self.full.load(Relaxed);
        if full && !sent.is_empty() {
            return SendResult::Nothing;
        }
        let taken = take();
        sent.extend(taken.iter().map(|p| format!("{:?}", p.kind())));
        if full {
            SendResult::Part
        } else {
            SendResult::All
        }
    }
}

impl Basin {
    fn take(&self) -> usize {
        std::mem::take(&mut *self.sent.lock()).len()
    }
}

/// A parked session with a direct writer.
fn session_with_sink() -> (Outbox, Inbox, Arc<Woken>, Arc<Basin>) {
    let (basin, woken) = (Arc::<Basin>::default(), Arc::new(Woken(false.into())));
    let (outbox, inbox) = channel(8, 1024, Some(Arc::clone(&basin) as Arc<dyn DirectWriter>));
    park(&inbox, &woken);
    (outbox, inbox, woken, basin)
}

#[test]
fn parked_session_has_its_queued_events_sent_directly() {
    let (outbox, inbox, woken, basin) = session_with_sink();
    push(&outbox, &message("a"));
    push(&outbox, &message("b"));
    outbox.deliver_now(QueueClass::Small);
    assert_eq!((basin.take(), outbox.queued_events()), (2, 0));
    assert!(!woken.take());
    // It is still parked.
    push(&outbox, &message("c"));
    outbox.deliver_now(QueueClass::Small);
    assert_eq!(basin.take(), 1);
    assert!(inbox.next().now_or_never().is_none());
}

#[test]
fn busy_session_sends_its_queued_events_itself() {
    let rises: [fn(&Inbox, &Outbox); 3] = [
        |inbox, _| inbox.resume(),
        |inbox, _| assert!(inbox.evicted().now_or_never().is_none()),
        |_, outbox| outbox.revalidate(),
    ];
    for rises in rises {
        let (outbox, inbox, woken, basin) = session_with_sink();
        push(&outbox, &message("a"));
        rises(&inbox, &outbox);
        woken.take();
        push(&outbox, &message("b"));
        outbox.deliver_now(QueueClass::Small);
        assert_eq!((basin.take(), outbox.queued_events()), (0, 2));
        assert!(!woken.take(), "it polls the inbox itself when it is done");
        // The batch that it takes then is not sent once more.
        let mut event = std::iter::from_fn(|| inbox.next().now_or_never());
        let is_batch =
            |event: &SessionEvent| matches!(event, SessionEvent::Batch(batch) if batch.len() == 2);
        assert!(event.any(|event| is_batch(&event)));
        push(&outbox, &message("c"));
        outbox.deliver_now(QueueClass::Small);
        assert_eq!((basin.take(), outbox.queued_events()), (0, 1));
    }
}

#[test]
fn evicted_session_gets_no_more_events() {
    let (outbox, inbox, _, basin) = session_with_sink();
    push(&outbox, &message("a"));
    outbox.evict(Eviction::Revoked);
    outbox.deliver_now(QueueClass::Small);
    assert_eq!(basin.take(), 0);
    assert_eq!(inbox.evicted().now_or_never(), Some(Eviction::Revoked));
}

#[test]
fn closed_session_gets_no_more_events_and_is_not_woken() {
    let (outbox, inbox, woken, basin) = session_with_sink();
    push(&outbox, &message("a"));
    inbox.close();
    outbox.deliver_now(QueueClass::Small);
    assert!(!push(&outbox, &message("b")));
    outbox.evict(Eviction::Revoked);
    assert_eq!((basin.take(), outbox.queued_events()), (0, 0));
    assert!(!woken.take());
    assert!(inbox.next().now_or_never().is_none());
}

#[test]
fn revalidation_waits_for_the_end_of_a_write() {
    let (outbox, inbox, woken) = session(8, 1024);
    let waker = Arc::clone(&woken).into();
    let mut eviction = pin!(inbox.evicted());
    let mut is_writing = || {
        let mut cx = Context::from_waker(&waker);
        eviction.as_mut().poll(&mut cx).is_pending()
    };
    assert!(is_writing());
    outbox.revalidate();
    assert!(!woken.take());
    let event = inbox.next().now_or_never();
    assert!(matches!(event, Some(SessionEvent::Revalidate)));
    // An eviction does not wait.
    assert!(is_writing());
    outbox.evict(Eviction::Revoked);
    assert!(woken.take());
}

#[test]
fn session_with_a_partial_write_is_woken_to_finish_it() {
    let (outbox, inbox, woken, basin) = session_with_sink();
    push(&outbox, &message("a"));
    basin.full.store(true, Relaxed);
    outbox.deliver_now(QueueClass::Small);
    assert!(woken.take());
    // Only the session may continue.
    push(&outbox, &message("b"));
    outbox.deliver_now(QueueClass::Small);
    assert!(matches!(
        inbox.next().now_or_never(),
        Some(SessionEvent::Unsent)
    ));
    let Some(SessionEvent::Batch(batch)) = inbox.next().now_or_never() else {
        panic!("a later event was sent before the rest of an earlier one");
    };
    assert_eq!((batch.len(), basin.take()), (1, 1));
}

#[test]
fn session_that_could_not_be_served_is_scheduled_again() {
    let (outbox, inbox, woken, basin) = session_with_sink();
    let mut to_schedule = Vec::new();
    outbox.push(&message("a"), QueueClass::Small, &mut to_schedule);
    outbox.push(&message("a"), QueueClass::Large, &mut to_schedule);
    basin.full.store(true, Relaxed);
    outbox.deliver_now(QueueClass::Small);
    outbox.deliver_now(QueueClass::Large);
    assert_eq!(to_schedule.len(), 2);
    park(&inbox, &woken);
    for class in [QueueClass::Small, QueueClass::Large] {
        outbox.push(&message("b"), class, &mut to_schedule);
    }
    assert_eq!((to_schedule.len(), basin.take()), (4, 2));
}

/// Sends nothing, and runs a function before it returns.
struct Meanwhile(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl DirectWriter for Meanwhile {
    fn send(&self, _: &mut dyn FnMut() -> Batch) -> SendResult {
        let happens = self.0.lock().take();
        happens.expect("called once")();
        SendResult::Nothing
    }
}

#[test]
fn session_parked_again_during_delivery_is_woken() {
    let (meanwhile, woken) = (
        Arc::new(Meanwhile(Mutex::default())),
        Arc::new(Woken(false.into())),
    );
    let (outbox, inbox) = channel(
        8,
        1024,
        Some(Arc::clone(&meanwhile) as Arc<dyn DirectWriter>),
    );
    park(&inbox, &woken);
    push(&outbox, &message("a"));
    let inbox = Arc::new(inbox);
    *meanwhile.0.lock() = Some(Box::new({
        let (outbox, inbox, woken) = (outbox.clone(), Arc::clone(&inbox), Arc::clone(&woken));
        move || {
            // The session took the event itself, and is parked again.
            park(&inbox, &woken);
            push(&outbox, &message("b"));
        }
    }));
    outbox.deliver_now(QueueClass::Small);
    assert!(woken.take());
}

#[test]
fn unserved_session_is_behind_and_slow_reader_is_not() {
    for (events, bytes) in [(8, 1024), (100, 8)] {
        let (outbox, inbox, woken) = session(events, bytes);
        let pushed = || outbox.push(&message("a"), QueueClass::Small, &mut Vec::new());
        assert_eq!([pushed(), pushed()], [PushResult::Queued; 2]);
        assert_eq!(pushed(), PushResult::Behind);
        assert!(outbox.is_behind());
        // It writes, and the client does not read.
        park(&inbox, &woken);
        assert!(inbox.evicted().now_or_never().is_none());
        assert_eq!([pushed(), pushed(), pushed()], [PushResult::Queued; 3]);
        assert!(!outbox.is_behind() && !woken.take());
        park(&inbox, &woken);
        assert_eq!(pushed(), PushResult::Queued);
    }
}
