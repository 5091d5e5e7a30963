use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Wake;

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
    outbox.push(publication, None) != Pushed::Missed
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

/// Whether `inbox` was woken since it was last looked into.
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

/// Takes what waits for a session, which then waits for more.
fn rest(inbox: &Inbox, woken: &Arc<Woken>) {
    let waker = Arc::clone(woken).into();
    while inbox.poll_next(&Context::from_waker(&waker)).is_ready() {}
}

fn session(events: usize, bytes: usize) -> (Outbox, Inbox, Arc<Woken>) {
    let ((outbox, inbox), woken) = (channel(events, bytes), Woken(false.into()).into());
    rest(&inbox, &woken);
    (outbox, inbox, woken)
}

#[test]
fn a_session_stands_in_line_once_until_it_is_called() {
    let (outbox, inbox, woken) = session(8, 1024);
    let mut crowd = Vec::new();
    for text in ["a", "b"] {
        assert_eq!(
            outbox.push(&message(text), Some(&mut crowd)),
            Pushed::Queued
        );
    }
    assert_eq!(crowd.len(), 1);
    assert!(!woken.take());
    crowd.remove(0).call();
    assert!(woken.take());
    rest(&inbox, &woken);
    outbox.push(&message("c"), Some(&mut crowd));
    assert_eq!(crowd.len(), 1);
}

#[test]
fn what_cannot_wait_wakes_who_stands_in_line() {
    let urgent: [fn(&Outbox); 3] = [
        Outbox::recheck,
        |outbox| outbox.depart(Departure::Revoked),
        |outbox| assert!(push(outbox, &message("of a small room"))),
    ];
    for happens in urgent {
        let (outbox, inbox, woken) = session(8, 1024);
        let mut crowd = Vec::new();
        outbox.push(&message("a"), Some(&mut crowd));
        happens(&outbox);
        assert!(woken.take());
        if outbox.waiting() > 0 {
            rest(&inbox, &woken);
            // It has all.
            crowd[0].call();
            assert!(!woken.take());
        }
    }
}

#[test]
fn who_did_not_have_his_turn_is_behind_and_who_does_not_read_is_not() {
    for (events, bytes) in [(8, 1024), (100, 8)] {
        let (outbox, inbox, woken) = session(events, bytes);
        let pushed = || outbox.push(&message("a"), None);
        assert_eq!([pushed(), pushed()], [Pushed::Queued; 2]);
        assert_eq!(pushed(), Pushed::Behind);
        assert!(outbox.is_behind() && woken.take());
        // It writes, and the client does not take it.
        rest(&inbox, &woken);
        assert!(inbox.departure().now_or_never().is_none());
        assert_eq!([pushed(), pushed(), pushed()], [Pushed::Queued; 3]);
        assert!(!outbox.is_behind() && !woken.take());
        rest(&inbox, &woken);
        assert_eq!(pushed(), Pushed::Queued);
        assert!(woken.take());
    }
}
