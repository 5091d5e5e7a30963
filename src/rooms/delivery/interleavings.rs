//! A model test of the delivery: the real rooms, scheduler, states and streams, run by
//! shuttle in many orders of their locks. Only the session's loop is a short copy of
//! `ws::Session`'s. A wake-up that is lost ends in a deadlock, which shuttle reports.
//!
//! Each client reads a pipe that holds less than one frame, so nearly every direct write
//! leaves something unsent, and the session goes through all of its states.

mod returning;

use std::sync::Arc;

use shuttle::future::{JoinHandle, block_on, spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use super::super::{
    Audience, Broadcast, EventKind, HistorySettings, Joined, Membership, Rooms, Settings, Since,
};
use super::*;
use crate::auth::{Grant, User};
use crate::core::ids::{RoomName, RowId, SessionIds};
use crate::runtime::drain::Drain;
use crate::runtime::sync::check_interleavings;

/// The rooms, and the scheduler's tasks.
struct Desk {
    rooms: Arc<Rooms>,
    ids: SessionIds,
    schedulers: Vec<(Arc<Notify>, JoinHandle<()>)>,
}

/// A session in the room, as the rest of the edge and its client see it.
struct Tab {
    outbox: Outbox,
    /// Makes the session write a frame of its own.
    command: Arc<Notify>,
    /// Drops the session in the middle of what it does, as a panic would.
    abort: Arc<Notify>,
    task: JoinHandle<Option<Eviction>>,
    /// Returns the frames that the client got, once the stream ends.
    client: JoinHandle<Vec<String>>,
    /// Signals that the client got as many frames as it expected.
    got_all: Arc<Notify>,
    /// Signals that the session was asked to revalidate.
    revalidated: Arc<Notify>,
}

impl Desk {
    fn new(schedulers: usize) -> Self {
        Self::with_history(schedulers, HistorySettings::default())
    }

    fn with_history(schedulers: usize, history: HistorySettings) -> Self {
        let rooms = Arc::new(Rooms::new(Settings::default(), history, Drain::new()));
        let schedulers = (0..schedulers).map(|_| {
            let (stop, rooms) = (Arc::new(Notify::new()), Arc::clone(&rooms));
            let stopped = Arc::clone(&stop);
            let task = spawn(async move {
                tokio::select! {
                    biased;
                    () = stopped.notified() => {}
                    never = rooms.run_scheduler() => match never {},
                }
            });
            (stop, task)
        });
        Self {
            schedulers: schedulers.collect(),
            ids: SessionIds::new(),
            rooms,
        }
    }

    /// A session with a queue of `events`, whose client reports when it has got `expected`
    /// frames. The client reads nothing before `reads`, if that is given.
    fn tab(&self, events: usize, expected: usize, reads: Option<Arc<Notify>>) -> Tab {
        self.tab_since(None, events, |_| expected, reads)
    }

    fn tab_since(
        &self,
        since: Option<Since>,
        events: usize,
        expected: impl FnOnce(&Joined) -> usize,
        reads: Option<Arc<Notify>>,
    ) -> Tab {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let stream = SharedStream::new(near, &ENCODER, Arc::default(), None);
        let (outbox, inbox) = channel(events, 1024, Some(stream.direct_writer()));
        let grant = Grant::for_test(room(), User::for_test(1));
        let joined = self
            .rooms
            .join(&grant, since, self.ids.issue(), outbox.clone());
        let expected = expected(&joined);
        let session = Session {
            inbox,
            stream,
            membership: joined.membership,
            command: Arc::default(),
            revalidated: Arc::default(),
        };
        let (command, abort, got_all) = (
            Arc::clone(&session.command),
            Arc::<Notify>::default(),
            Arc::<Notify>::default(),
        );
        let (aborted, has_all) = (Arc::clone(&abort), Arc::clone(&got_all));
        Tab {
            outbox,
            command,
            abort,
            revalidated: Arc::clone(&session.revalidated),
            task: spawn(async move {
                tokio::select! {
                    biased;
                    () = aborted.notified() => None,
                    reason = session.run() => Some(reason),
                }
            }),
            client: spawn(async move {
                if let Some(reads) = reads {
                    reads.notified().await;
                }
                read(far, expected, &has_all).await
            }),
            got_all,
        }
    }

    /// Publishes in a task of its own.
    fn publish_all(&self, texts: &'static [&'static str]) -> JoinHandle<()> {
        let rooms = Arc::clone(&self.rooms);
        spawn(async move {
            for text in texts {
                rooms.publish(message(text));
            }
        })
    }

    fn stop_scheduler(&mut self) {
        let (stop, task) = self.schedulers.pop().unwrap();
        stop.notify_one();
        block_on(task).unwrap();
    }

    /// Stops everything, and checks that no session is left in the room.
    fn finish(mut self) {
        while !self.schedulers.is_empty() {
            self.stop_scheduler();
        }
        assert_eq!(self.rooms.count(), 0);
    }
}

impl Tab {
    /// Waits for the end of the session and of its client; returns the reason and the frames.
    fn finish(self) -> (Option<Eviction>, Vec<String>) {
        let reason = block_on(self.task).unwrap();
        assert_eq!(self.outbox.queued_events(), 0);
        // The stream ends when nobody can write to it any more.
        drop(self.outbox);
        (reason, block_on(self.client).unwrap())
    }
}

/// What `ws::Session` does with its inbox, its stream and its room.
struct Session {
    inbox: Inbox,
    stream: SharedStream<DuplexStream>,
    membership: Membership,
    command: Arc<Notify>,
    /// Signals that the session was asked to revalidate.
    revalidated: Arc<Notify>,
}

impl Session {
    async fn run(mut self) -> Eviction {
        let reason = loop {
            let event = tokio::select! {
                biased;
                event = self.inbox.next() => Some(event),
                () = self.command.notified() => None,
            };
            let own_frame: &[u8] = match event {
                Some(SessionEvent::Evicted(reason)) => break reason,
                Some(SessionEvent::Revalidate) => {
                    self.revalidated.notify_one();
                    continue;
                }
                Some(SessionEvent::RevalidateEarly | SessionEvent::Ping | SessionEvent::Unsent) => {
                    b""
                }
                Some(SessionEvent::Batch(batch)) => {
                    self.stream.enqueue(batch);
                    b""
                }
                None => {
                    self.inbox.resume();
                    b"[own]"
                }
            };
            if let Err(reason) = self.write(own_frame).await {
                break reason;
            }
        };
        // The reason stays the same, and nothing else comes.
        let last = self.inbox.next().await;
        assert!(matches!(last, SessionEvent::Evicted(again) if again == reason));
        self.inbox.close();
        self.stream.discard_unsent();
        self.membership.disconnect();
        reason
    }

    async fn write(&mut self, own_frame: &[u8]) -> Result<(), Eviction> {
        let stream = &mut self.stream;
        let writing = async {
            while !std::future::poll_fn(|cx| stream.poll_send(cx))
                .await
                .unwrap()
            {}
            stream.write_all(own_frame).await.unwrap();
            stream.flush().await.unwrap();
        };
        tokio::select! {
            biased;
            () = writing => Ok(()),
            reason = self.inbox.evicted() => Err(reason),
        }
    }
}

/// Reads frames until the stream ends. The last may be cut off.
async fn read(mut far: DuplexStream, expected: usize, got_all: &Notify) -> Vec<String> {
    let (mut frames, mut frame) = (Vec::new(), [0; FRAME_BYTES]);
    while far.read_exact(&mut frame).await.is_ok() {
        frames.push(String::from_utf8(frame.to_vec()).unwrap());
        if frames.len() == expected {
            got_all.notify_one();
        }
    }
    frames
}

#[test]
fn sessions_that_live_receive_every_event_once_in_one_order() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::new(2);
        let tabs = [(); 2].map(|()| desk.tab(100, 5, None));
        let publishers = [["[a 1]", "[a 2]"], ["[b 1]", "[b 2]"]].map(|texts| {
            let rooms = Arc::clone(&desk.rooms);
            spawn(async move { texts.map(|text| rooms.publish(message(text))) })
        });
        for tab in &tabs {
            tab.command.notify_one();
            tab.outbox.revalidate();
        }
        for publisher in publishers {
            for delivered in block_on(publisher).unwrap() {
                assert_eq!((delivered.sessions, delivered.missed), (2, 0));
            }
        }
        let [first, second] = tabs.map(|tab| {
            block_on(tab.got_all.notified());
            block_on(tab.revalidated.notified());
            tab.outbox.evict(Eviction::Disconnected);
            let (reason, mut frames) = tab.finish();
            assert_eq!(reason, Some(Eviction::Disconnected));
            assert_eq!(frames.extract_if(.., |frame| frame == "[own]").count(), 1);
            frames
        });
        assert_eq!(first, second, "two sessions saw two orders");
        for publisher in ["a", "b"] {
            let own = first.iter().filter(|frame| frame.contains(publisher));
            let expected = [format!("[{publisher} 1]"), format!("[{publisher} 2]")];
            assert!(own.eq(&expected), "{first:?}");
        }
        desk.finish();
    });
}

#[test]
fn session_evicted_twice_ends_once_and_receives_nothing_more() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::new(1);
        let tab = desk.tab(100, 0, None);
        let publisher = desk.publish_all(&["[a 1]", "[a 2]"]);
        let evictors = [Eviction::Revoked, Eviction::Superseded].map(|reason| {
            let (rooms, outbox) = (Arc::clone(&desk.rooms), tab.outbox.clone());
            spawn(async move {
                outbox.evict(reason);
                let late = rooms.publish(message("[gone"));
                assert_eq!(late.sessions, 0);
            })
        });
        evictors
            .into_iter()
            .for_each(|evictor| block_on(evictor).unwrap());
        block_on(publisher).unwrap();
        let (reason, frames) = tab.finish();
        assert!(matches!(
            reason,
            Some(Eviction::Revoked | Eviction::Superseded)
        ));
        assert!(["[a 1]", "[a 2]"].starts_with(&refs(&frames)), "{frames:?}");
        desk.finish();
    });
}

#[test]
fn client_that_does_not_read_is_evicted_as_slow() {
    check_interleavings(ITERATIONS, || {
        let (desk, reads) = (Desk::new(1), Arc::<Notify>::default());
        let tab = desk.tab(2, 0, Some(Arc::clone(&reads)));
        // Two may wait in the queue, and a batch or two of as many in the stream.
        let all = [
            "[a 1]", "[a 2]", "[a 3]", "[a 4]", "[a 5]", "[a 6]", "[a 7]",
        ];
        for text in all {
            desk.rooms.publish(message(text));
        }
        // It ends though the client still reads nothing.
        assert_eq!(block_on(tab.task).unwrap(), Some(Eviction::Slow));
        drop(tab.outbox);
        reads.notify_one();
        let frames = block_on(tab.client).unwrap();
        assert!(all.starts_with(&refs(&frames)), "{frames:?}");
        desk.finish();
    });
}

#[test]
fn session_dropped_at_any_moment_blocks_nobody() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::new(1);
        let (aborted, other) = (desk.tab(100, 0, None), desk.tab(100, 2, None));
        let publisher = desk.publish_all(&["[a 1]", "[a 2]"]);
        aborted.abort.notify_one();
        block_on(publisher).unwrap();
        block_on(other.got_all.notified());
        let rooms = Arc::clone(&desk.rooms);
        block_on(aborted.task).unwrap();
        // It is still in the room: there is no runtime here whose task could leave for it.
        assert_eq!(rooms.publish(message("[a 3]")).missed, 1);
        assert_eq!(aborted.outbox.queued_events(), 0);
        other.outbox.evict(Eviction::Disconnected);
        let (_, frames) = other.finish();
        assert_eq!(frames[..2], ["[a 1]", "[a 2]"]);
    });
}

#[test]
fn sessions_are_served_while_the_scheduler_stops() {
    check_interleavings(ITERATIONS, || {
        let mut desk = Desk::new(1);
        let tab = desk.tab(100, 3, None);
        let publisher = desk.publish_all(&["[a 1]", "[a 2]", "[a 3]"]);
        desk.stop_scheduler();
        block_on(publisher).unwrap();
        block_on(tab.got_all.notified());
        tab.outbox.evict(Eviction::Disconnected);
        let (_, frames) = tab.finish();
        assert_eq!(frames, ["[a 1]", "[a 2]", "[a 3]"]);
        desk.finish();
    });
}

fn refs(frames: &[String]) -> Vec<&str> {
    frames.iter().map(String::as_str).collect()
}

fn message(text: &'static str) -> Broadcast {
    Broadcast {
        room: room(),
        text: text.into(),
        audience: Audience::All,
        to: None,
    }
}

fn room() -> RoomName {
    RoomName::ticket(RowId::new(7).unwrap())
}

/// Writes the text of a broadcast, which is a whole frame here.
static ENCODER: PublicationEncoder = PublicationEncoder {
    wire: crate::rooms::Wire::Desk,
    frame: |publication| match publication.kind() {
        EventKind::Broadcast(text) => text.as_str().to_owned().into(),
        _ => panic!("only broadcasts are published here"),
    },
    ping: |_| panic!("nothing is to be confirmed here"),
};

const FRAME_BYTES: usize = 5;
const PIPE_BYTES: usize = 4;
const ITERATIONS: usize = 200;
