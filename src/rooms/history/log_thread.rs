//! The thread that stores broadcasts in the event log, then delivers them.
//!
//! One thread numbers, stores and delivers, so events are delivered in the order of the log,
//! and no client gets an event that is not in it. The thread takes all requests that wait
//! and stores them with one write, and with one flush if each must be flushed. A killed
//! process loses nothing that was written: the kernel has it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SendError, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::log_state::LogState;
use super::log_writer::{self, LogWriter, panic_message};
use super::mark_queue::MarkQueue;
use super::request::{Request, RequestId};
use super::settings::Settings;
use super::usage::LogUsage;
use crate::event_log::EventLog;
use crate::rooms::{Broadcast, Delivered, Rooms};

/// The handle of the thread.
#[derive(Debug)]
pub(in crate::rooms) struct LogThread {
    requests: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    is_closed: AtomicBool,
    state: Arc<LogState>,
}

/// The error of a request that came when the log was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event log is closed")]
pub(crate) struct LogClosed;

enum Message {
    Publish(Request),
    /// Marks of sessions wait.
    Marks,
    Close,
}

impl LogThread {
    /// Starts the thread, which writes to `log` and delivers in `rooms`. If the system starts
    /// no thread, nothing is stored.
    ///
    /// It stores `marks`, too.
    pub(super) fn start(
        log: EventLog,
        settings: Settings,
        rooms: Weak<Rooms>,
        marks: Arc<MarkQueue>,
    ) -> Self {
        let (requests, incoming) = mpsc::channel();
        let wake = requests.clone();
        marks.open(move || drop(wake.send(Message::Marks)));
        let state = Arc::new(LogState::default());
        let watermark = log.watermark_path().to_owned();
        let writer = LogWriter::new(log, settings, rooms, marks, Arc::clone(&state));
        let (stopped, file) = (Arc::clone(&state), watermark.clone());
        let run = move || {
            let run = AssertUnwindSafe(|| run(writer, &incoming));
            if let Err(panic) = catch_unwind(run) {
                log_writer::stop(&file, &stopped, &panic_message(&*panic));
            }
            // Only now requests find the channel closed, and are delivered without the thread.
            drop(incoming);
        };
        let thread = thread::Builder::new()
            .name("event-log".to_owned())
            .spawn(run);
        if let Err(error) = &thread {
            log_writer::stop(&watermark, &state, &error.to_string());
        }
        Self {
            requests,
            thread: Mutex::new(thread.ok()),
            is_closed: AtomicBool::new(false),
            state,
        }
    }

    /// Returns the handle of a thread that has ended.
    #[cfg(test)]
    pub(super) fn ended() -> Self {
        Self {
            requests: mpsc::channel().0,
            thread: Mutex::default(),
            is_closed: AtomicBool::new(false),
            state: Arc::default(),
        }
    }

    /// Stores `broadcasts` and delivers them in `rooms`, in their order. If the thread has
    /// ended, they are delivered all the same.
    ///
    /// Cancel safety: once it was polled, the events are published even if the future is
    /// dropped.
    ///
    /// # Errors
    /// Returns [`LogClosed`] after [`close`](Self::close).
    ///
    /// # Panics
    /// Continues a panic of the delivery.
    pub(in crate::rooms) async fn publish(
        &self,
        rooms: &Rooms,
        id: Option<RequestId>,
        broadcasts: Vec<Broadcast>,
    ) -> Result<Vec<Delivered>, LogClosed> {
        let (done, delivered) = oneshot::channel();
        let request = Request {
            id,
            broadcasts,
            done,
        };
        match self.requests.send(Message::Publish(request)) {
            Ok(()) => {}
            Err(SendError(Message::Publish(request))) if !self.is_closed() => {
                return Ok(self.publish_unstored(rooms, request.broadcasts));
            }
            Err(_) => return Err(LogClosed),
        }
        match delivered.await {
            Ok(Ok(delivered)) => Ok(delivered),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(LogClosed),
        }
    }

    fn publish_unstored(&self, rooms: &Rooms, broadcasts: Vec<Broadcast>) -> Vec<Delivered> {
        self.state.count_unstored(broadcasts.len() as u64);
        let publish = |broadcast| rooms.publish(broadcast);
        broadcasts.into_iter().map(publish).collect()
    }

    /// Publishes what waits, flushes the log and closes it. Blocks.
    pub(in crate::rooms) fn close(&self) {
        // The closed log must not lack events that come later.
        self.is_closed.store(true, Ordering::Release);
        let _ = self.requests.send(Message::Close);
        if let Some(thread) = self.thread.lock().take() {
            // A panic was logged by the panic hook.
            let _ = thread.join();
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Returns the size and the health of the log in `directory`.
    pub(super) fn usage(&self, directory: &Path) -> LogUsage {
        self.state.usage(directory)
    }
}

/// Publishes requests until the log is closed or the rooms are gone.
fn run(mut writer: LogWriter, incoming: &Receiver<Message>) {
    loop {
        let (batch, is_open) = next_batch(writer.due(), incoming);
        // Before the events: a client that gets one of them had its session marked.
        writer.store_marks();
        if !batch.is_empty() && !writer.publish(batch) {
            break;
        }
        writer.maintain();
        if !is_open {
            break;
        }
    }
    writer.close();
}

/// Waits for requests until `due`; returns all that wait, and whether more may come.
fn next_batch(due: Instant, incoming: &Receiver<Message>) -> (Vec<Request>, bool) {
    let mut batch = Vec::new();
    match incoming.recv_timeout(due.saturating_duration_since(Instant::now())) {
        Ok(Message::Publish(request)) => batch.push(request),
        Ok(Message::Marks) => {}
        Err(RecvTimeoutError::Timeout) => return (batch, true),
        Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => return (batch, false),
    }
    while batch.len() < MAX_BATCH {
        match incoming.try_recv() {
            Ok(Message::Publish(request)) => batch.push(request),
            Ok(Message::Marks) => {}
            Ok(Message::Close) => return (batch, false),
            Err(_) => break,
        }
    }
    (batch, true)
}

/// The maximum number of requests that are stored with one write.
const MAX_BATCH: usize = 256;
