//! The event log: a durable, append-only log of all events of this edge, so that clients that
//! reconnect receive the events that they have missed, also after a restart.
//!
//! The log is a directory of segments, one file each; the newest one is written. A record
//! holds all events of one publish request. Offsets rise over all rooms without gaps; those of
//! one [`Epoch`] never stand for two events. [`EventLog::open`] reads the whole log once.
//! Everything here blocks.
//!
//! | happening | result |
//! |---|---|
//! | the process is killed | nothing that was appended is lost, since the kernel has it; the epoch continues |
//! | the machine loses power | events since the last [`EventLog::sync`] may be lost; new epoch |
//! | a record is damaged | the rest of its segment is not used; a client that misses these events learns of the gap by [`Recovered::horizon`] |
//! | the newest records are damaged or missing | new epoch |
//! | the disk is full | [`EventLog::append`] fails until there is space; the segments have a note in their head, so that a restart meanwhile starts a new epoch |
//!
//! | file | content |
//! |---|---|
//! | `record` | the entries of a segment in bytes |
//! | `segment` | the head of a segment, and how it is written |
//! | `reader` | how a segment is read |
//! | `recovery` | the start: reads all segments, and decides whether the epoch continues |
//! | `retention` | deletes old segments |
//! | `defect` | defects that a start may find in the files |
//! | `error` | the reasons why a start fails |

pub mod defect;
mod error;
pub mod reader;
pub mod record;
mod recovery;
mod retention;
pub mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use self::error::OpenError;
pub use self::record::{
    Event, InvalidRecord, Record, RequestKey, StoredEvent, StoredKey, StoredRecord,
};
pub(crate) use self::recovery::Recovered;
use self::recovery::Recovery;
use self::segment::{ActiveSegment, BootId, Head, OldSegment};
use crate::core::position::Epoch;

/// The bounds of the log. [`EventLog::enforce_retention`] enforces them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The length at which a new segment begins.
    pub(crate) segment_bytes: u64,
    /// The age at which events may be deleted. An event is deleted with its segment, at one and
    /// a half times this age at the latest.
    pub(crate) max_age: Duration,
    /// The maximum length of all segments. The newest segment stays in any case.
    pub(crate) max_bytes: u64,
    /// The time without a write after which a start begins a new epoch: another process may
    /// have published events meanwhile that are not in this log.
    pub(crate) max_pause: Duration,
}

impl Limits {
    /// The usual `segment_bytes`.
    pub(crate) const DEFAULT_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
}

/// An open event log. The process that has it open holds a lock on the directory.
#[derive(Debug)]
pub(crate) struct EventLog {
    directory: PathBuf,
    limits: Limits,
    epoch: Epoch,
    boot: BootId,
    /// The first offset that was not used. An offset counts as used even if its record could
    /// not be stored, so that no later record gets it.
    next_offset: u64,
    next_sequence: u64,
    /// The segment being written; `None` after a failure, until the next append.
    active: Option<ActiveSegment>,
    /// The other segments, oldest first.
    old: VecDeque<OldSegment>,
    /// Segments that are complete but may not be on disk.
    unsynced: Vec<File>,
    is_active_synced: bool,
    is_directory_synced: bool,
    /// Whether a sync has failed. The kernel reports such an error once and then drops the data,
    /// so that a later success proves nothing: the log is never closed as complete.
    has_sync_failed: bool,
    /// Whether the newest offsets were used for records that could not be stored.
    has_unstored: bool,
    has_cleanup_failed: bool,
    buffer: Vec<u8>,
    /// The directory, whose lock ends with this handle.
    _lock: File,
}

impl EventLog {
    /// Opens the log in `directory`, and creates the directory with mode 0700 if it is missing.
    /// Damage does not fail it; [`Recovered::damage`] reports it.
    ///
    /// If the disk is full, the log opens with a new epoch, and each append tries again to
    /// create a segment.
    ///
    /// # Errors
    /// Returns [`OpenError`] if the directory cannot be created, read, or written, or if
    /// another process has the log open.
    pub(crate) fn open(directory: &Path, limits: Limits) -> Result<(Self, Recovered), OpenError> {
        Self::open_at(directory, limits, BootId::current(), SystemTime::now())
    }

    fn open_at(
        directory: &Path,
        mut limits: Limits,
        boot: BootId,
        now: SystemTime,
    ) -> Result<(Self, Recovered), OpenError> {
        // The active segment alone must not exceed the bound of the log.
        limits.segment_bytes = limits.segment_bytes.min(limits.max_bytes / 2);
        let lock = lock(directory)?;
        let mut recovery = Recovery::read(directory, boot, now)?;
        if recovery.has_paused_for(limits.max_pause) {
            recovery.recovered.start_epoch(now);
        }
        let mut log = Self {
            directory: directory.to_owned(),
            limits,
            epoch: recovery.recovered.epoch,
            boot,
            next_offset: recovery.recovered.next_offset,
            next_sequence: recovery.next_sequence,
            active: None,
            old: VecDeque::new(),
            unsynced: Vec::new(),
            is_active_synced: true,
            is_directory_synced: true,
            has_sync_failed: false,
            has_unstored: false,
            has_cleanup_failed: false,
            buffer: Vec::new(),
            _lock: lock,
        };
        // From here on the old segments no longer prove that the log is complete. So the new
        // one must be on disk before it gets records.
        match log.roll().and_then(|()| log.sync()) {
            Ok(()) => recovery.clean_up(),
            Err(error) if is_full(&error) => {
                // No offset of the epoch on disk is used without a segment that shows it.
                log.active = None;
                recovery.recovered.start_epoch(now);
                log.epoch = recovery.recovered.epoch;
                log.next_offset = recovery.recovered.next_offset;
            }
            Err(error) => return Err(OpenError::write(directory)(error)),
        }
        log.old = recovery.segments;
        Ok((log, recovery.recovered))
    }

    /// Writes `records`, all of them in one write. A killed process does not lose them
    /// afterwards; a machine that loses power may, until [`EventLog::sync`].
    ///
    /// # Errors
    /// Returns an error if the records cannot be written, or if one of them is an
    /// [`InvalidRecord`]. None of them is in the log then, and their offsets count as used:
    /// later records need higher ones. A later append may succeed. The next start takes the
    /// offsets in between for lost.
    pub(crate) fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let result = self.encode(records).and_then(|()| self.write(records));
        for record in records {
            let end = record
                .first_offset
                .saturating_add(record.events.len() as u64);
            self.next_offset = self.next_offset.max(end);
        }
        if result.is_err() {
            self.handle_failed_append();
        }
        result
    }

    fn encode(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        self.buffer.clear();
        self.buffer.shrink_to(MAX_IDLE_BUFFER_BYTES);
        let mut next_offset = self.next_offset;
        for record in records {
            let end = record.first_offset.checked_add(record.events.len() as u64);
            let end = end.filter(|_| record.first_offset >= next_offset);
            next_offset = end.ok_or_else(|| invalid(InvalidRecord::Offset))?;
            record::encode_record(record, &mut self.buffer).map_err(invalid)?;
        }
        Ok(())
    }

    /// Writes the buffer, which holds `records`.
    fn write(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        if self.active.as_ref().is_some_and(ActiveSegment::is_deleted) {
            self.active = None;
        }
        let is_full = |active: &ActiveSegment| {
            let bytes = active.bytes + self.buffer.len() as u64;
            active.times.is_some() && bytes > self.limits.segment_bytes
        };
        if self.active.as_ref().is_none_or(is_full) {
            let rolled = self.roll();
            // A segment that is too long is better than records that are not stored.
            if self.active.is_none() {
                rolled?;
            }
        }
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        active.append(&self.buffer)?;
        for record in records {
            active.add_time(record.time);
        }
        self.is_active_synced = false;
        // If it fails, the only harm is a new epoch at a restart.
        if self.has_unstored && active.set_unstored(false).is_ok() {
            self.has_unstored = false;
        }
        Ok(())
    }

    /// Notes that the newest offsets are not stored, and removes what was written of them.
    fn handle_failed_append(&mut self) {
        self.has_unstored = true;
        let Some(active) = &self.active else {
            return;
        };
        // If the disk accepts not even this, there is no place for the note.
        let _ = active.set_unstored(true);
        if active.cut_back().is_err() {
            self.retire_active();
        }
    }

    /// Begins a new segment.
    fn roll(&mut self) -> io::Result<()> {
        let sequence = self.next_sequence;
        // A number is not tried again if its file exists.
        self.next_sequence = sequence.saturating_add(1);
        let head = Head {
            epoch: self.epoch,
            boot: self.boot,
            base_offset: self.next_offset,
            has_unstored: self.has_unstored,
        };
        let segment = ActiveSegment::create(&self.directory, sequence, &head)?;
        if let Some(active) = &mut self.active {
            active.seal();
        }
        self.retire_active();
        self.active = Some(segment);
        self.is_active_synced = false;
        self.is_directory_synced = false;
        Ok(())
    }

    fn retire_active(&mut self) {
        if let Some(segment) = self.active.take() {
            let (old, file) = segment.retire();
            self.old.push_back(old);
            self.unsynced.push(file);
        }
    }

    /// Waits until all records are on disk. Does nothing if they are.
    ///
    /// # Errors
    /// Returns an error if the system cannot write them. A machine that loses power may lose
    /// them then, even if a later sync succeeds.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let result = self.try_sync();
        self.has_sync_failed |= result.is_err();
        result
    }

    fn try_sync(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        // One failure does not keep the other segments from the disk.
        for file in self.unsynced.drain(..) {
            let synced = file.sync_data();
            result = result.and(synced);
        }
        if let Some(active) = self.active.as_ref().filter(|_| !self.is_active_synced) {
            let synced = active.file.sync_data();
            self.is_active_synced = synced.is_ok();
            result = result.and(synced);
        }
        if !self.is_directory_synced {
            // The names of the segments are in the directory.
            File::open(&self.directory)?.sync_all()?;
            self.is_directory_synced = true;
        }
        result
    }

    /// Returns the length of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        let old = self.old.iter().map(|segment| segment.bytes);
        old.chain(self.active.as_ref().map(|active| active.bytes))
            .sum()
    }

    /// Returns the number of segments.
    pub(crate) fn segments(&self) -> usize {
        self.old.len() + usize::from(self.active.is_some())
    }

    /// Returns the epoch of the events that are appended.
    #[cfg(test)]
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Ends the log's epoch: the next start begins a new one. For a process that publishes
    /// without the log.
    ///
    /// # Errors
    /// Returns the error of the write.
    pub(crate) fn end_epoch(self) -> io::Result<()> {
        self.active
            .as_ref()
            .map_or(Ok(()), |active| active.set_unstored(true))
    }

    /// Closes the log, so that its epoch continues even after the machine was restarted.
    ///
    /// # Errors
    /// Returns an error if the system cannot write the last records to the disk.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.sync()?;
        let is_complete = !self.has_sync_failed && !self.has_unstored;
        match &mut self.active {
            Some(active) if is_complete => active.close(),
            _ => Ok(()),
        }
    }
}

/// Creates the directory if it is missing, and locks it.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let create = || {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        File::open(directory)
    };
    let lock = create().map_err(OpenError::directory(directory))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::locked(directory)),
        Err(TryLockError::Error(error)) => Err(OpenError::directory(directory)(error)),
    }
}

/// Returns whether `error` ends when there is space on the disk.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

const MAX_IDLE_BUFFER_BYTES: usize = 1024 * 1024;
