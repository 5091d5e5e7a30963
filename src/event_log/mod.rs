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
//! | a segment cannot be opened | as if it were damaged |
//! | the newest records are damaged or missing | new epoch |
//! | the disk is full | [`EventLog::append`] fails until there is space, and the log then has a gap; a restart meanwhile starts a new epoch |
//! | the edge ran with another log, or an older copy of this one is opened | new epoch |
//!
//! The last two are known from the [`Watermark`], which is outside of the log.
//!
//! | file | content |
//! |---|---|
//! | `record` | the entries of a segment in bytes |
//! | `frame` | the frames and the fields of entries |
//! | `segment` | the head of a segment, and how it is written |
//! | `session_mark` | what clients without positions have confirmed |
//! | `newest_offsets` | the newest offset of each room |
//! | `reader` | how a segment is read |
//! | `recovery` | the start: reads all segments, and decides whether the epoch continues |
//! | `flush` | how records reach the disk |
//! | `recovered` | the contents of the log at start |
//! | `retention` | deletes old segments |
//! | `watermark` | the newest position of the edge, outside of the log |
//! | `lock` | the lock of the directory |
//! | `defect` | defects that a start may find in the files |
//! | `error` | the reasons why a start fails |

pub mod defect;
mod error;
mod flush;
mod frame;
mod lock;
pub mod newest_offsets;
pub mod reader;
pub mod record;
mod recovered;
mod recovery;
mod retention;
pub mod segment;
pub mod session_mark;
#[cfg(test)]
mod tests;
mod watermark;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use self::error::OpenError;
use self::error::WriteError;
pub(crate) use self::flush::Flush;
use self::flush::FlushState;
pub(crate) use self::lock::check_unused;
pub(crate) use self::newest_offsets::NewestOffsets;
pub use self::record::{
    Event, Except, Gap, InvalidRecord, Record, RequestKey, StoredEvent, StoredKey, StoredRecord,
};
pub(crate) use self::recovered::Recovered;
use self::recovery::Recovery;
pub(crate) use self::segment::check_segments;
use self::segment::{ActiveSegment, BootId, Head, OldSegment};
pub(crate) use self::session_mark::{Mark, SessionMark};
pub(crate) use self::watermark::{Watermark, check as check_watermark};
use crate::core::position::{Epoch, Position};

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
    /// The maximum memory of the records that a start returns. The newest ones stay.
    pub(crate) max_memory: usize,
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
    /// The end of the offsets that the log has, as records or gaps.
    stored_end: u64,
    /// Each segment begins with it, so that a start knows it when older segments are deleted.
    rooms: NewestOffsets<Box<str>>,
    watermark: Watermark,
    next_sequence: u64,
    /// The segment being written; `None` after a failure, until the next append.
    active: Option<ActiveSegment>,
    /// The other segments, oldest first.
    old: VecDeque<OldSegment>,
    flush: FlushState,
    has_cleanup_failed: bool,
    buffer: Vec<u8>,
    /// The directory, whose lock ends with this handle.
    _lock: File,
}

impl EventLog {
    /// Opens the log in `directory`, and creates the directory with mode 0700 if it is missing.
    /// Damage does not fail it; [`Recovered::damage`] reports it. The epoch continues only if
    /// the log has every event up to the `watermark`.
    ///
    /// If the disk is full, the log opens with a new epoch, and each append tries again to
    /// create a segment.
    ///
    /// # Errors
    /// Returns [`OpenError`] if the directory cannot be created, read, or written, or if
    /// another process has the log open.
    pub(crate) fn open(
        directory: &Path,
        watermark: Watermark,
        limits: Limits,
    ) -> Result<(Self, Recovered), OpenError> {
        let (boot, now) = (BootId::current(), SystemTime::now());
        Self::open_at(directory, watermark, limits, boot, now)
    }

    fn open_at(
        directory: &Path,
        watermark: Watermark,
        mut limits: Limits,
        boot: BootId,
        now: SystemTime,
    ) -> Result<(Self, Recovered), OpenError> {
        // The active segment alone must not exceed the bound of the log.
        limits.segment_bytes = limits.segment_bytes.min(limits.max_bytes / 2);
        let lock = lock::acquire(directory)?;
        let mark = watermark.read_last();
        let mut recovery = Recovery::read(directory, boot, mark, limits.max_memory, now)?;
        if recovery.has_paused_for(limits.max_pause) {
            recovery.recovered.start_epoch(now);
        }
        let mut log = Self {
            directory: directory.to_owned(),
            limits,
            epoch: recovery.recovered.epoch,
            boot,
            next_offset: recovery.recovered.next_offset,
            stored_end: recovery.recovered.next_offset,
            rooms: recovery.recovered.newest_by_room(),
            watermark,
            next_sequence: recovery.next_sequence,
            active: None,
            old: VecDeque::new(),
            flush: FlushState::default(),
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
                log.stored_end = log.next_offset;
                log.rooms = NewestOffsets::new(0);
            }
            Err(error) => return Err(OpenError::write(directory)(error)),
        }
        // A failure is reported by the next append, which tries again.
        let _ = log.watermark.write(log.newest_position(log.next_offset));
        log.old = recovery.segments;
        Ok((log, recovery.recovered))
    }

    /// Writes `records`, all of them in one write. A killed process does not lose them
    /// afterwards; a machine that loses power may, until [`EventLog::sync`].
    ///
    /// # Errors
    /// Returns an error if the records cannot be written, or if one of them is an
    /// [`InvalidRecord`]. Their offsets count as used all the same: later records need higher
    /// ones. A later append may succeed, and notes the gap.
    pub(crate) fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let ends = records.iter().map(|record| {
            let events = record.events.len() as u64;
            record.first_offset.saturating_add(events)
        });
        let next_offset = ends.fold(self.next_offset, u64::max);
        let written = self.encode(records).and_then(|()| self.write(records));
        self.next_offset = next_offset;
        self.note_rooms(records);
        match written {
            Ok(()) => self.stored_end = next_offset,
            Err(_) => self.remove_partial_append(),
        }
        // After the write: a killed process leaves a log that has too much, but never too little.
        let marked = self.watermark.write(self.newest_position(next_offset));
        written.and(marked)
    }

    /// Writes marks of sessions. If they cannot be written, a start knows less about the
    /// sessions, and nothing else is missing.
    pub(crate) fn append_marks(&mut self, marks: &[Mark]) {
        self.buffer.clear();
        for mark in marks {
            // One that is too long is left out.
            let _ = mark.encode(&mut self.buffer);
        }
        match (self.write(&[]), &mut self.active) {
            // A segment of marks alone ends at its bound, too.
            (Ok(()), Some(active)) => active.add_time(SystemTime::now()),
            _ => self.remove_partial_append(),
        }
    }

    /// Returns the position of the event before `next_offset`.
    fn newest_position(&self, next_offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            offset: next_offset - 1,
        }
    }

    fn note_rooms(&mut self, records: &[Record<'_>]) {
        for record in records {
            for (number, event) in record.events.iter().enumerate() {
                let offset = record.first_offset.saturating_add(number as u64);
                self.rooms.note(event.room, offset);
            }
        }
    }

    fn encode(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        self.buffer.clear();
        self.buffer.shrink_to(MAX_IDLE_BUFFER_BYTES);
        let (mut next_offset, mut stored_end) = (self.next_offset, self.stored_end);
        for record in records {
            let first_offset = record.first_offset;
            let end = first_offset.checked_add(record.events.len() as u64);
            let end = end.filter(|_| first_offset >= next_offset);
            next_offset = end.ok_or_else(|| invalid(InvalidRecord::Offset))?;
            if stored_end < first_offset {
                let gap = Gap {
                    first_offset: stored_end,
                    next_offset: first_offset,
                };
                record::encode_gap(gap, &mut self.buffer);
            }
            stored_end = next_offset;
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
            let rolled = self.roll().map_err(WriteError::at(&self.directory));
            // A segment that is too long is better than records that are not stored.
            if self.active.is_none() {
                rolled?;
            }
        }
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let appended = active.append(&self.buffer);
        appended.map_err(WriteError::at(&active.path))?;
        for record in records {
            active.add_time(record.time);
        }
        self.flush.is_active_synced = false;
        Ok(())
    }

    /// Removes what was written of records that are not stored.
    fn remove_partial_append(&mut self) {
        let cut = self.active.as_ref().map(ActiveSegment::cut_back);
        if cut.is_some_and(|cut| cut.is_err()) {
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
            base_offset: self.stored_end,
        };
        // The table must leave most of the segment to events.
        while record::rooms_bytes(&self.rooms) as u64 > self.limits.segment_bytes / 8
            && self.rooms.rooms().len() > 0
        {
            self.rooms.evict_half();
        }
        let segment = ActiveSegment::create(&self.directory, sequence, &head, &self.rooms)?;
        if let Some(active) = &mut self.active {
            active.seal();
        }
        self.retire_active();
        self.active = Some(segment);
        self.flush.is_active_synced = false;
        self.flush.is_directory_synced = false;
        Ok(())
    }

    fn retire_active(&mut self) {
        if let Some(segment) = self.active.take() {
            let (old, file) = segment.retire();
            self.old.push_back(old);
            self.flush.unsynced.push(file);
        }
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

    /// Returns the path of the watermark's file.
    pub(crate) fn watermark_path(&self) -> &Path {
        self.watermark.path()
    }

    /// Returns the epoch of the events that are appended.
    #[cfg(test)]
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
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
