//! Stores batches of requests in the event log, then delivers them. Runs on the log's thread.
//!
//! If the disk takes nothing, events are delivered all the same, and Laravel is told that
//! they are not stored: a full disk must not stop a support desk. The same applies if a bug
//! stops the log.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::flusher::Flusher;
use super::log_state::LogState;
use super::mark_queue::MarkQueue;
use super::request::{Request, RequestId};
use super::settings::{Settings, SyncPolicy};
use crate::core::error_chain::error_chain;
use crate::event_log::{Event, EventLog, Record, Watermark};
use crate::rooms::{Delivered, Rooms};

/// The writer of the log.
#[derive(Debug)]
pub(super) struct LogWriter {
    /// `None` after a panic: its state may be half changed.
    log: Option<EventLog>,
    pub(super) flusher: Flusher,
    settings: Settings,
    rooms: Weak<Rooms>,
    marks: Arc<MarkQueue>,
    state: Arc<LogState>,
    /// The time at which the log is to be flushed, if something is not.
    pub(super) flush_due: Option<Instant>,
    /// The time of the next look for old segments.
    retention_due: Instant,
    /// The time of the next record without events.
    heartbeat_due: Instant,
}

impl LogWriter {
    pub(super) fn new(
        log: EventLog,
        settings: Settings,
        rooms: Weak<Rooms>,
        marks: Arc<MarkQueue>,
        state: Arc<LogState>,
    ) -> Self {
        state.set_bytes(log.bytes());
        Self {
            log: Some(log),
            flusher: Flusher::start(Arc::clone(&state)),
            settings,
            rooms,
            marks,
            state,
            flush_due: None,
            retention_due: Instant::now(),
            heartbeat_due: Instant::now(),
        }
    }

    /// Returns the time at which [`maintain`](Self::maintain) has something to do.
    pub(super) fn due(&self) -> Instant {
        let retention_due = self.retention_due;
        self.flush_due
            .map_or(retention_due, |due| due.min(retention_due))
    }

    /// Stores the marks of sessions that wait.
    pub(super) fn store_marks(&mut self) {
        let marks = self.marks.take();
        if !marks.is_empty() {
            let _ = self.with_log(|log| {
                log.append_marks(&marks);
                Ok(())
            });
        }
    }

    /// Stores and delivers a batch. Returns false if the rooms are gone.
    pub(super) fn publish(&mut self, batch: Vec<Request>) -> bool {
        let Some(rooms) = self.rooms.upgrade() else {
            return false;
        };
        let mut next_offset = rooms.next_offset();
        let is_stored = self.store(&batch, next_offset);
        for request in batch {
            let count = request.broadcasts.len() as u64;
            next_offset += count;
            if !is_stored {
                self.state.count_unstored(count);
            }
            let publish = |broadcast| Delivered {
                is_stored,
                ..rooms.publish(broadcast)
            };
            // A panic concerns the publisher of this request alone, which continues it.
            let delivered = catch_unwind(AssertUnwindSafe(|| {
                request.broadcasts.into_iter().map(publish).collect()
            }));
            if delivered.is_err() {
                // The events that follow keep the offsets that they have in the log.
                rooms.skip_to(next_offset);
            }
            // The client may have disconnected.
            let _ = request.done.send(delivered);
        }
        true
    }

    /// Returns whether the batch is stored.
    fn store(&mut self, batch: &[Request], first_offset: u64) -> bool {
        let written = self.with_log(|log| append(log, batch, first_offset));
        self.record_write(&written);
        if written.is_err() {
            return false;
        }
        match self.settings.sync {
            SyncPolicy::Always => {
                let flushed = self.with_log(EventLog::sync);
                if self.log.is_some() {
                    self.state.record_flush(&flushed);
                }
                flushed.is_ok()
            }
            SyncPolicy::Interval => {
                self.schedule_flush();
                true
            }
        }
    }

    /// Runs `work` on the log. A panic in it stops the log, and the log alone.
    pub(super) fn with_log<T>(
        &mut self,
        work: impl FnOnce(&mut EventLog) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(log) = &mut self.log else {
            return Err(stopped());
        };
        match catch_unwind(AssertUnwindSafe(|| work(log))) {
            Ok(result) => result,
            Err(panic) => {
                let watermark = log.watermark_path().to_owned();
                self.log = None;
                stop(&watermark, &self.state, &panic_message(&*panic));
                Err(stopped())
            }
        }
    }

    /// Records the result of a write. A log that has stopped is reported once.
    fn record_write(&self, written: &io::Result<()>) {
        if self.log.is_some() {
            self.state.record_write(written);
        }
    }

    fn schedule_flush(&mut self) {
        let due = Instant::now() + self.settings.sync_interval.get();
        self.flush_due.get_or_insert(due);
    }

    /// Begins a flush. While the last one runs, it is put off.
    pub(super) fn begin_flush(&mut self) {
        self.flush_due = None;
        if self.flusher.is_busy() {
            self.schedule_flush();
        } else if let Ok(flush) = self.with_log(|log| Ok(log.begin_flush())) {
            let result = self.flusher.begin(flush);
            self.end_flush(result);
        }
    }

    /// Takes the result of a flush, if there is one. A failed one is tried again.
    fn end_flush(&mut self, result: Option<io::Result<()>>) {
        let Some(result) = result else {
            return;
        };
        if result.is_err() {
            self.schedule_flush();
        }
        // Nothing depends on the flushes of a log that has stopped.
        let _ = self.with_log(|log| {
            log.end_flush(&result);
            Ok(())
        });
    }

    /// Flushes the log and deletes old segments, when they are due.
    pub(super) fn maintain(&mut self) {
        let now = Instant::now();
        let result = self.flusher.poll();
        self.end_flush(result);
        if self.flush_due.is_some_and(|due| due <= now) {
            self.begin_flush();
        }
        let max_bytes = self.settings.max_disk.get() as u64;
        let bytes = self.log.as_ref().map_or(0, EventLog::bytes);
        if self.retention_due <= now || bytes > max_bytes {
            self.retention_due = now + RETENTION_INTERVAL;
            let _ = self.with_log(|log| {
                log.enforce_retention(SystemTime::now());
                Ok(())
            });
            self.write_heartbeat(now);
        }
        if let Some(log) = &self.log {
            self.state.set_bytes(log.bytes());
        }
    }

    /// Writes a record without events if it is due, or if the last write has failed. It shows
    /// the next start that this process was there, and this one that the disk takes data again.
    fn write_heartbeat(&mut self, now: Instant) {
        let is_due = self.heartbeat_due <= now || self.state.is_write_failing();
        let Some(rooms) = self.rooms.upgrade() else {
            return;
        };
        if !is_due || self.log.is_none() {
            return;
        }
        self.heartbeat_due = now + HEARTBEAT_INTERVAL;
        let first_offset = rooms.next_offset();
        let written = self.with_log(|log| {
            log.append(&[Record {
                first_offset,
                time: SystemTime::now(),
                key: None,
                events: &[],
            }])
        });
        self.record_write(&written);
    }

    /// Flushes the log and closes it.
    pub(super) fn close(mut self) {
        let result = self.flusher.wait();
        self.end_flush(result);
        let closed = self.log.take().map(EventLog::close);
        if let Some(Err(error)) = closed {
            tracing::warn!(
                name: "event_log_close_failed",
                error = error_chain(&error),
                "event log close failed"
            );
        }
    }
}

fn append(log: &mut EventLog, batch: &[Request], first_offset: u64) -> io::Result<()> {
    let names: Vec<_> = batch.iter().map(Request::names).collect();
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
    log.append(&records)
}

/// Records that the log is not written any more, because of `error`. The next start must begin
/// a new epoch, since the events to come are in no log.
pub(super) fn stop(watermark: &Path, state: &LogState, error: &str) {
    state.record_stop(error);
    end_epoch(watermark);
}

/// Lets the next start begin a new epoch, by the file `watermark`.
pub(super) fn end_epoch(watermark: &Path) {
    if let Err(error) = Watermark::new(watermark.to_owned()).end_epoch() {
        tracing::warn!(
            name: "event_log_epoch_not_ended",
            file = %watermark.display(),
            error = error.to_string(),
            "event log epoch not ended"
        );
    }
}

fn stopped() -> io::Error {
    io::Error::other("the event log has stopped")
}

/// Returns the text of a panic.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("panic").to_owned()
}

/// The time between two looks for old segments.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two records without events.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(60);
