//! The threads of the event log when something fails.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Wake};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::log_state::LogState;
use super::log_writer::LogWriter;
use super::request::Request;
use super::*;
use crate::auth::{Grant, User};
use crate::core::ids::{RowId, SessionIds};
use crate::event_log::{EventLog, Limits, Recovered, Watermark};
use crate::rooms::{Audience, Settings as RoomSettings, channel};
use crate::runtime::drain::Drain;

#[test]
fn panic_of_the_log_stops_storing_but_not_delivering() {
    let directory = tempfile::tempdir().unwrap();
    let (rooms, mut writer, state) = writer(directory.path());
    let epoch = rooms.history.as_ref().unwrap().epoch;
    let first = publish(&mut writer, 1);
    assert!(first.is_stored);
    let result = writer.with_log(|_| -> std::io::Result<()> { panic!("a bug") });
    result.unwrap_err();
    for offset in [2, 3] {
        let delivered = publish(&mut writer, 1);
        assert!(!delivered.is_stored);
        assert_eq!(delivered.position, Some(Position { epoch, offset }));
    }
    writer.maintain();
    let usage = state.usage(directory.path());
    assert!(usage.is_stopped && usage.is_failing);
    assert_eq!(usage.unstored, 2);
    writer.close();
    let (_, recovered) = open(directory.path());
    assert_ne!(recovered.epoch, epoch);
}

#[test]
fn panic_of_a_delivery_reaches_its_publisher_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (rooms, mut writer, _) = writer(directory.path());
    let (outbox, inbox) = channel(10, 1000, None);
    let grant = Grant::for_test(room(1), User::for_test(3));
    let joined = rooms.join(&grant, None, SessionIds::new().issue(), outbox);
    let waker = Arc::new(PanickingWaker).into();
    let mut next = pin!(inbox.next());
    assert!(
        next.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let (bad, failed) = request(1);
    let (good, delivered) = request(2);
    assert!(writer.publish(vec![bad, good]));
    let panic = failed.now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the session is broken"));
    let delivered = delivered.now_or_never().unwrap().unwrap().unwrap();
    assert!(delivered[0].is_stored);
    let offset = delivered[0].position.unwrap().offset;
    assert_eq!(offset, 2, "the offset that the event has in the log");
    drop(joined);
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("the session is broken");
    }
}

#[test]
fn requests_are_delivered_without_the_thread_until_the_log_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let (rooms, writer, _) = writer(directory.path());
    drop(writer);
    let thread = LogThread::ended();
    let publish = || {
        let published = thread.publish(&rooms, None, vec![broadcast(1)]);
        published.now_or_never().unwrap()
    };
    let delivered = publish().unwrap();
    assert!(!delivered[0].is_stored && delivered[0].position.is_some());
    assert_eq!(thread.usage(directory.path()).unstored, 1);
    thread.close();
    assert_eq!(publish().unwrap_err(), LogClosed);
}

#[test]
fn flush_runs_while_events_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let (_rooms, mut writer, state) = writer(directory.path());
    publish(&mut writer, 1);
    writer.begin_flush();
    assert!(writer.flusher.is_busy());
    assert!(publish(&mut writer, 1).is_stored);
    // The last flush may run still. It is not waited for.
    writer.begin_flush();
    assert!(writer.flush_due.is_some());
    writer.close();
    assert!(!state.usage(directory.path()).is_failing);
}

/// The rooms, a writer of their log, and its state.
fn writer(directory: &Path) -> (Arc<Rooms>, LogWriter, Arc<LogState>) {
    let (log, recovered) = open(directory);
    let settings = Settings::default();
    let history = History::new(settings.clone(), recovered.epoch, NewestOffsets::new(0));
    let drain = Drain::new();
    let rooms = Rooms::with_history(RoomSettings::default(), Some(history), drain);
    let (rooms, state) = (Arc::new(rooms), Arc::default());
    let (weak, marks) = (Arc::downgrade(&rooms), Arc::default());
    let writer = LogWriter::new(log, settings, weak, marks, Arc::clone(&state));
    (rooms, writer, state)
}

fn open(directory: &Path) -> (EventLog, Recovered) {
    let limits = Limits {
        segment_bytes: Limits::DEFAULT_SEGMENT_BYTES,
        max_age: Duration::from_secs(3600),
        max_bytes: 256 * 1024 * 1024,
        max_memory: 64 * 1024 * 1024,
        max_pause: Duration::from_secs(600),
    };
    let watermark = Watermark::new(directory.join("watermark"));
    EventLog::open(&directory.join("log"), watermark, limits).unwrap()
}

/// Publishes an event in a room of its own; returns the result.
fn publish(writer: &mut LogWriter, ticket: u64) -> Delivered {
    let (request, delivered) = request(ticket);
    assert!(writer.publish(vec![request]));
    let delivered = delivered.now_or_never().unwrap().unwrap();
    delivered.unwrap().remove(0)
}

type Result = oneshot::Receiver<std::thread::Result<Vec<Delivered>>>;

fn request(ticket: u64) -> (Request, Result) {
    let (done, delivered) = oneshot::channel();
    let request = Request {
        id: None,
        broadcasts: vec![broadcast(ticket)],
        done,
    };
    (request, delivered)
}

fn broadcast(ticket: u64) -> Broadcast {
    Broadcast {
        room: room(ticket),
        text: "text".to_owned(),
        audience: Audience::All,
        to: None,
    }
}

fn room(ticket: u64) -> RoomName {
    RoomName::ticket(RowId::new(ticket).unwrap())
}
