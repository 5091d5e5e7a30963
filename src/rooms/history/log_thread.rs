//! The thread that stores broadcasts in the event log, then delivers them.
//!
//! One thread numbers, stores and delivers, so events are delivered in the order of the log,
//! and no client gets an event that is not in it. The thread takes all requests that wait
//! and stores them with one write, and with one flush if each must be flushed. A killed
//! process loses nothing that was written: the kernel has it.
//!
//! If the disk takes nothing, events are delivered all the same, and Laravel is told that
//! they are not stored: a full disk must not stop a support desk.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::settings::{Settings, SyncPolicy};
use super::usage::LogUsage;
use crate::core::error_chain::error_chain;
use crate::event_log::{Event, EventLog, Record, RequestKey};
use crate::rooms::{Broadcast, Delivered, Rooms};

/// The handle of the thread.
#[derive(Debug)]
pub(in crate::rooms) struct LogThread {
    requests: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    state: Arc<LogState>,
}

/// The state of the log, which the thread updates.
#[derive(Debug, Default)]
struct LogState {
    /// The length of the log in bytes.
    bytes: AtomicU64,
    /// The number of events that were delivered but not stored.
    unstored: AtomicU64,
    /// Whether the last write has failed.
    is_failing: AtomicBool,
}

/// The key and the digest that identify a request of Laravel in the log, so that a retry after a restart does not
/// publish its events again.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    /// The `Idempotency-Key`.
    pub(crate) key: String,
    /// The SHA-256 digest of the request's body.
    pub(crate) digest: [u8; 32],
}

/// The error of a request that came when the log was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event log is closed")]
pub(crate) struct LogClosed;

enum Message {
    Publish(Request),
    Close,
}

struct Request {
    id: Option<RequestId>,
    broadcasts: Vec<Broadcast>,
    done: oneshot::Sender<Vec<Delivered>>,
}

struct Writer {
    log: EventLog,
    settings: Settings,
    rooms: Weak<Rooms>,
    state: Arc<LogState>,
    /// The time at which the log is to be flushed, if something is not.
    sync_due: Option<Instant>,
    /// The time of the next look for old segments.
    retention_due: Instant,
    /// The time of the next record without events.
    heartbeat_due: Instant,
}

impl LogThread {
    /// Starts the thread, which writes to `log` and delivers in `rooms`.
    ///
    /// # Errors
    /// Returns the system's error if it starts no thread.
    pub(super) fn start(log: EventLog, settings: Settings, rooms: Weak<Rooms>) -> io::Result<Self> {
        let (requests, incoming) = mpsc::channel();
        let state = Arc::new(LogState::default());
        state.bytes.store(log.bytes(), Ordering::Relaxed);
        let writer = Writer {
            log,
            settings,
            rooms,
            state: Arc::clone(&state),
            sync_due: None,
            retention_due: Instant::now(),
            heartbeat_due: Instant::now(),
        };
        let thread = std::thread::Builder::new()
            .name("event-log".to_owned())
            .spawn(move || writer.run(&incoming))?;
        Ok(Self {
            requests,
            thread: Mutex::new(Some(thread)),
            state,
        })
    }

    /// Stores `broadcasts` and delivers them, in their order.
    ///
    /// Cancel safety: once it was polled, the events are published even if the future is
    /// dropped.
    ///
    /// # Errors
    /// Returns [`LogClosed`] after [`close`](Self::close).
    pub(in crate::rooms) async fn publish(
        &self,
        id: Option<RequestId>,
        broadcasts: Vec<Broadcast>,
    ) -> Result<Vec<Delivered>, LogClosed> {
        let (done, delivered) = oneshot::channel();
        let request = Request {
            id,
            broadcasts,
            done,
        };
        let sent = self.requests.send(Message::Publish(request));
        sent.map_err(|_| LogClosed)?;
        delivered.await.map_err(|_| LogClosed)
    }

    /// Publishes what waits, flushes the log and closes it. Blocks.
    pub(in crate::rooms) fn close(&self) {
        let _ = self.requests.send(Message::Close);
        if let Some(thread) = self.thread.lock().take() {
            // A panic was logged by the panic hook.
            let _ = thread.join();
        }
    }

    /// Returns the size and the health of the log in `directory`.
    pub(super) fn usage(&self, directory: &Path) -> LogUsage {
        LogUsage {
            directory: directory.to_owned(),
            bytes: self.state.bytes.load(Ordering::Relaxed),
            unstored: self.state.unstored.load(Ordering::Relaxed),
            is_failing: self.state.is_failing.load(Ordering::Relaxed),
        }
    }
}

impl Writer {
    fn run(mut self, incoming: &Receiver<Message>) {
        loop {
            let (batch, is_open) = self.next_batch(incoming);
            if !batch.is_empty() && !self.publish(batch) {
                break;
            }
            self.maintain();
            if !is_open {
                break;
            }
        }
        if let Err(error) = self.log.close() {
            tracing::warn!(
                name: "event_log_close_failed",
                error = error_chain(&error),
                "event log close failed"
            );
        }
    }

    /// Waits for requests, or for the time of a flush; returns all that wait, and whether
    /// more may come.
    fn next_batch(&self, incoming: &Receiver<Message>) -> (Vec<Request>, bool) {
        let now = Instant::now();
        let due = self
            .sync_due
            .map_or(self.retention_due, |due| due.min(self.retention_due));
        let mut batch = Vec::new();
        match incoming.recv_timeout(due.saturating_duration_since(now)) {
            Ok(Message::Publish(request)) => batch.push(request),
            Err(RecvTimeoutError::Timeout) => return (batch, true),
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return (batch, false),
        }
        while batch.len() < MAX_BATCH {
            match incoming.try_recv() {
                Ok(Message::Publish(request)) => batch.push(request),
                Ok(Message::Close) => return (batch, false),
                Err(_) => break,
            }
        }
        (batch, true)
    }

    /// Stores and delivers a batch. Returns false if the rooms are gone.
    fn publish(&mut self, batch: Vec<Request>) -> bool {
        let Some(rooms) = self.rooms.upgrade() else {
            return false;
        };
        let stored = self.store(&batch, rooms.next_offset());
        let is_stored = stored.is_ok();
        let events = batch
            .iter()
            .map(|request| request.broadcasts.len() as u64)
            .sum();
        self.state.report(events, stored);
        for request in batch {
            let publish = |broadcast| Delivered {
                is_stored,
                ..rooms.publish(broadcast)
            };
            let delivered = request.broadcasts.into_iter().map(publish).collect();
            // The client may have disconnected.
            let _ = request.done.send(delivered);
        }
        true
    }

    fn store(&mut self, batch: &[Request], first_offset: u64) -> io::Result<()> {
        let names: Vec<Vec<String>> = batch.iter().map(Request::rooms).collect();
        let events: Vec<Vec<Event<'_>>> = batch
            .iter()
            .zip(&names)
            .map(|(request, names)| request.events(names))
            .collect();
        let (time, mut next_offset) = (SystemTime::now(), first_offset);
        let records: Vec<Record<'_>> = batch
            .iter()
            .zip(&events)
            .map(|(request, events)| {
                let first_offset = next_offset;
                next_offset += events.len() as u64;
                Record {
                    first_offset,
                    time,
                    key: request.id.as_ref().map(RequestId::key),
                    events,
                }
            })
            .collect();
        self.log.append(&records)?;
        match self.settings.sync {
            SyncPolicy::Always => self.log.sync(),
            SyncPolicy::Interval => {
                let due = Instant::now() + self.settings.sync_interval.get();
                self.sync_due.get_or_insert(due);
                Ok(())
            }
        }
    }

    /// Writes a record without events if it is due, or if the last write has failed. It shows
    /// the next start that this process was there, and this one that the disk takes data again.
    fn write_heartbeat(&mut self, now: Instant) {
        let is_failing = self.state.is_failing.load(Ordering::Relaxed);
        let Some(rooms) = self.rooms.upgrade() else {
            return;
        };
        if is_failing || self.heartbeat_due <= now {
            self.heartbeat_due = now + HEARTBEAT_INTERVAL;
            let written = self.log.append(&[Record {
                first_offset: rooms.next_offset(),
                time: SystemTime::now(),
                key: None,
                events: &[],
            }]);
            self.state.report(0, written);
        }
    }

    /// Flushes the log and deletes old segments, when they are due.
    fn maintain(&mut self) {
        let now = Instant::now();
        if self.sync_due.is_some_and(|due| due <= now) {
            self.sync_due = None;
            if let Err(error) = self.log.sync() {
                self.state.report(0, Err(error));
            }
        }
        let max_bytes = self.settings.max_disk.get() as u64;
        if self.retention_due <= now || self.log.bytes() > max_bytes {
            self.retention_due = now + RETENTION_INTERVAL;
            self.log.enforce_retention(SystemTime::now());
            self.write_heartbeat(now);
        }
        self.state.bytes.store(self.log.bytes(), Ordering::Relaxed);
    }
}

impl LogState {
    /// Counts `events` that were written with the result `written`; logs the first failure,
    /// and the first success after it.
    fn report(&self, events: u64, written: io::Result<()>) {
        let was_failing = self.is_failing.swap(written.is_err(), Ordering::Relaxed);
        match written {
            Err(error) => {
                self.unstored.fetch_add(events, Ordering::Relaxed);
                if !was_failing {
                    tracing::error!(
                        name: "event_log_write_failed",
                        error = error_chain(&error),
                        "event log write failed"
                    );
                }
            }
            Ok(()) if was_failing => {
                tracing::info!(name: "event_log_recovered", "event log writes succeed again");
            }
            Ok(()) => {}
        }
    }
}

impl RequestId {
    fn key(&self) -> RequestKey<'_> {
        RequestKey {
            key: &self.key,
            digest: self.digest,
        }
    }
}

impl Request {
    fn rooms(&self) -> Vec<String> {
        let rooms = self.broadcasts.iter().map(|broadcast| &broadcast.room);
        rooms.map(ToString::to_string).collect()
    }

    fn events<'a>(&'a self, rooms: &'a [String]) -> Vec<Event<'a>> {
        let broadcasts = self.broadcasts.iter().zip(rooms);
        broadcasts
            .map(|(broadcast, room)| Event {
                room,
                text: &broadcast.text,
            })
            .collect()
    }
}

/// The maximum number of requests that are stored with one write.
const MAX_BATCH: usize = 256;
/// The time between two looks for old segments.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two records without events.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(60);
