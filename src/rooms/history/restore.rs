//! The start with an event log: reads what it holds, and starts its thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::log_thread::LogThread;
use super::{History, Settings, log_writer};
use crate::auth::{AgentHash, CredentialHash};
use crate::core::error_chain::error_chain;
use crate::core::ids::{RoomName, SessionId, UserId};
use crate::core::position::Position;
use crate::event_log::{
    self, EventLog, Limits, NewestOffsets, OpenError, Recovered, SessionMark, StoredRecord,
    Watermark,
};
use crate::rooms::parked::{Browser, LostSession, ParkedSessions};
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
}

/// Checks that the edge can create the event log of `settings`, or write to it, and that no
/// other process uses it. The process that `is_edge_running` is about may. Changes nothing.
/// Blocks.
///
/// # Errors
/// Any variant of [`HistoryError`].
pub(crate) fn check(
    settings: &Settings,
    is_edge_running: impl FnOnce() -> bool,
) -> Result<(), HistoryError> {
    let Some(path) = settings.directory() else {
        return Ok(());
    };
    state_directory::check(path).map_err(|source| HistoryError::Directory {
        path: path.to_owned(),
        source,
    })?;
    match event_log::check_unused(path) {
        Err(_) if is_edge_running() => Ok(()),
        result => Ok(result?),
    }
}

/// Returns what keeps the event log of `settings` from working, but not the edge: files that
/// this process cannot open, and an unwritable `watermark`. Blocks.
pub(crate) fn doubts(settings: &Settings, watermark: &Path) -> Vec<String> {
    let Some(path) = settings.directory() else {
        return Vec::new();
    };
    let segment = event_log::check_segments(path).err().map(|error| {
        let error = error_chain(&error);
        format!("a start goes without a file of history.directory: {error}")
    });
    let mark = event_log::check_watermark(watermark).err().map(|error| {
        let file = watermark.display();
        format!(
            "broadcast.socket: cannot write {file}, which history.directory needs; let the user \
             of the edge own it and its directory: {error}"
        )
    });
    segment.into_iter().chain(mark).collect()
}

/// Reads the log in the directory of `settings`, if there is one. `watermark` is the file of
/// the edge's [`Watermark`].
pub(in crate::rooms) fn open(
    settings: &Settings,
    watermark: &Path,
) -> Result<Option<(EventLog, Recovered)>, HistoryError> {
    let Some(directory) = settings.directory() else {
        end_epoch(settings, watermark);
        return Ok(None);
    };
    let mark = Watermark::new(watermark.to_owned());
    let (log, recovered) = EventLog::open(directory, mark, limits(settings))?;
    if recovered.next_offset == 1 && log.segments() > 1 {
        tracing::info!(
            name: "event_log_epoch_started",
            epoch = %recovered.epoch,
            "event log starts a new epoch"
        );
    }
    for gap in &recovered.gaps {
        tracing::info!(
            name: "event_log_gap",
            first = gap.first_offset,
            last = gap.next_offset - 1,
            "event log has a gap"
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
fn end_epoch(settings: &Settings, watermark: &Path) {
    let directory = &settings.directory;
    if directory.is_dir() {
        // A log that is open, and never closed, does not continue after the machine was
        // restarted either. Nothing depends on success in this boot.
        let mark = Watermark::new(watermark.to_owned());
        drop(EventLog::open(directory, mark, limits(settings)));
    }
    log_writer::end_epoch(watermark);
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        segment_bytes: Limits::DEFAULT_SEGMENT_BYTES,
        max_age: settings.max_age.get(),
        max_bytes: settings.max_disk.get() as u64,
        max_memory: settings.max_memory.get(),
        max_pause: MAX_PAUSE,
    }
}

/// Returns the newest offsets of the rooms that `dropped` names.
pub(in crate::rooms) fn rooms_of(dropped: &NewestOffsets<Box<str>>) -> NewestOffsets<RoomName> {
    let mut rooms = NewestOffsets::new(dropped.floor());
    for (name, newest) in dropped.rooms() {
        if let Some(name) = RoomName::parse(name) {
            rooms.note(&name, newest);
        }
    }
    rooms
}

/// Sessions are marked again every [`MARK_INTERVAL`](crate::rooms::receipts::MARK_INTERVAL), and a pause of
/// the edge is shorter than [`MAX_PAUSE`].
const MAX_MARK_AGE: Duration = Duration::from_secs(1200);

/// A restart is shorter, and the running edge writes more often.
const MAX_PAUSE: Duration = Duration::from_secs(600);

impl Rooms {
    /// Fills the rooms with the events of `recovered`, and starts the thread of `log`. Returns
    /// the requests that Laravel may retry.
    pub(in crate::rooms) fn restore(
        self: &Arc<Self>,
        log: EventLog,
        recovered: Recovered,
    ) -> Vec<PastRequest> {
        let Some(history) = &self.history else {
            return Vec::new();
        };
        let now = SystemTime::now();
        let age = |time| now.duration_since(time).unwrap_or_default();
        let horizon = recovered.horizon;
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
            history.restore(self, record, age, horizon);
        }
        history.skip_to(recovered.next_offset.saturating_sub(1));
        let marks = history.parked().map(ParkedSessions::marks).cloned();
        let (settings, marks) = (history.settings.clone(), marks.unwrap_or_default());
        let thread = LogThread::start(log, settings, Arc::downgrade(self), marks);
        self.log.set(thread).expect("it is set here only");
        // The log has their marks in old segments, which will be deleted: it gets them again.
        let sessions = recovered.sessions.into_values();
        history.restore_sessions(sessions.filter(|mark| age(mark.time) < MAX_MARK_AGE));
        past
    }
}

impl History {
    /// Parks the sessions of an earlier process: their clients return from now on.
    fn restore_sessions(&self, marks: impl Iterator<Item = SessionMark>) {
        let Some(parked) = &self.parked else {
            return;
        };
        for mark in marks {
            let Some(user) = UserId::from_text(&mark.user) else {
                continue;
            };
            let rooms = mark.rooms.iter();
            let rooms = rooms.filter_map(|(room, offset)| Some((RoomName::parse(room)?, *offset)));
            parked.park(LostSession {
                session: SessionId::from_bits(mark.session),
                user,
                browser: Browser {
                    token: CredentialHash::of_token_digest(mark.token),
                    agent: AgentHash::from_bytes(mark.agent),
                },
                rooms: rooms.collect(),
            });
        }
    }

    /// Keeps the events of a record after the `horizon`.
    fn restore(&self, rooms: &Rooms, record: StoredRecord, age: Duration, horizon: u64) {
        let now = Instant::now();
        let since = now.checked_sub(age).unwrap_or(now);
        for (offset, event) in (record.first_offset..).zip(record.events) {
            if offset <= horizon {
                continue;
            }
            let Some(room) = RoomName::parse(&event.room) else {
                continue;
            };
            self.skip_to(offset - 1);
            let broadcast = Broadcast {
                room,
                text: event.text,
                audience: Audience::from_except(event.except),
                to: None,
            };
            self.publish_at(rooms, broadcast, since);
        }
    }
}
