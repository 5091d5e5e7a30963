//! The start with an event log: reads what it holds, and starts its thread.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::log_thread::LogThread;
use super::{History, Settings};
use crate::core::error_chain::error_chain;
use crate::core::ids::RoomName;
use crate::core::position::Position;
use crate::event_log::{EventLog, Limits, OpenError, Recovered, StoredRecord};
use crate::rooms::{Audience, Broadcast, Rooms};
use crate::runtime::state_directory;

/// A request of Laravel that an earlier process has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastRequest {
    /// The `Idempotency-Key`.
    pub(crate) key: String,
    /// The SHA-256 digest of the request's body.
    pub(crate) digest: [u8; 32],
    /// The position of its first event.
    pub(crate) position: Position,
    /// The time since it was published.
    pub(crate) age: Duration,
}

/// The reason why the history cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The event log cannot be opened.
    #[error("cannot use history.directory")]
    Log(#[from] OpenError),
    /// The directory cannot be created or written.
    #[error(
        "history.directory: cannot write to {}; run this as the user of the edge, or let that \
         user own it",
        .path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system starts no thread for the event log.
    #[error("cannot start the thread of the event log")]
    Thread(#[source] io::Error),
}

/// Checks that the edge can create the event log of `settings`, or write to it. Changes
/// nothing. Blocks.
///
/// # Errors
/// Returns [`HistoryError::Directory`] if it cannot.
pub(crate) fn check(settings: &Settings) -> Result<(), HistoryError> {
    settings.directory().map_or(Ok(()), |path| {
        state_directory::check(path).map_err(|source| HistoryError::Directory {
            path: path.to_owned(),
            source,
        })
    })
}

/// Reads the log in the directory of `settings`, if there is one.
pub(in crate::rooms) fn open(
    settings: &Settings,
) -> Result<Option<(EventLog, Recovered)>, HistoryError> {
    let Some(directory) = settings.directory() else {
        end_epoch(settings);
        return Ok(None);
    };
    let (log, recovered) = EventLog::open(directory, limits(settings))?;
    if recovered.next_offset == 1 && log.segments() > 1 {
        tracing::info!(
            name: "event_log_epoch_started",
            epoch = %recovered.epoch,
            "event log starts a new epoch"
        );
    }
    for damage in &recovered.damage {
        tracing::warn!(
            name: "event_log_damaged",
            file = %damage.path.display(), offset = damage.offset,
            error = error_chain(&damage.defect),
            "event log damaged"
        );
    }
    Ok(Some((log, recovered)))
}

/// Ends the epoch of the log that these settings do not use: it will lack the events of this
/// process. Without a log there is nothing to end.
fn end_epoch(settings: &Settings) {
    let directory = &settings.directory;
    if directory.as_os_str().is_empty() || !directory.is_dir() {
        return;
    }
    let ended = EventLog::open(directory, limits(settings))
        .map_err(|error| error_chain(&error))
        .and_then(|(log, _)| log.end_epoch().map_err(|error| error.to_string()));
    if let Err(error) = ended {
        tracing::warn!(
            name: "event_log_epoch_not_ended",
            directory = %directory.display(), error,
            "event log epoch not ended"
        );
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        segment_bytes: Limits::DEFAULT_SEGMENT_BYTES,
        max_age: settings.max_age.get(),
        max_bytes: settings.max_disk.get() as u64,
        max_pause: MAX_PAUSE,
    }
}

/// A restart is shorter, and the running edge writes more often.
const MAX_PAUSE: Duration = Duration::from_secs(600);

impl Rooms {
    /// Fills the rooms with the events of `recovered`, and starts the thread of `log`. Returns
    /// the requests that Laravel may retry.
    pub(in crate::rooms) fn restore(
        self: &Arc<Self>,
        log: EventLog,
        recovered: Recovered,
    ) -> Result<Vec<PastRequest>, HistoryError> {
        let Some(history) = &self.history else {
            return Ok(Vec::new());
        };
        let now = SystemTime::now();
        let age = |time| now.duration_since(time).unwrap_or_default();
        let mut past: Vec<_> = recovered
            .past_requests
            .into_iter()
            .map(|request| PastRequest {
                key: request.key.key,
                digest: request.key.digest,
                position: request.position,
                age: age(request.time),
            })
            .collect();
        for record in recovered.records {
            let age = age(record.time);
            let position = history.at(record.first_offset);
            past.extend(record.key.clone().map(|key| PastRequest {
                key: key.key,
                digest: key.digest,
                position,
                age,
            }));
            history.restore(self, record, age);
        }
        history.skip_to(recovered.next_offset.saturating_sub(1));
        let thread = LogThread::start(log, history.settings.clone(), Arc::downgrade(self));
        let thread = thread.map_err(HistoryError::Thread)?;
        self.log.set(thread).expect("it is set here only");
        Ok(past)
    }
}

impl History {
    /// Keeps the events of a record that were not dropped before.
    fn restore(&self, rooms: &Rooms, record: StoredRecord, age: Duration) {
        let now = Instant::now();
        let since = now.checked_sub(age).unwrap_or(now);
        for (offset, event) in (record.first_offset..).zip(record.events) {
            if offset <= self.horizon() {
                continue;
            }
            let Some(room) = RoomName::parse(&event.room) else {
                continue;
            };
            self.skip_to(offset - 1);
            let broadcast = Broadcast {
                room,
                text: event.text,
                audience: Audience::All,
                to: None,
            };
            self.publish_at(rooms, broadcast, since);
        }
    }
}
