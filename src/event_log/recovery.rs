//! The start: reads all segments, and decides whether the epoch continues.

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::OpenError;
use super::defect::Defect;
use super::newest_offsets::NewestOffsets;
use super::reader::{ReadError, SegmentReader};
use super::record::{Entry, Gap, StoredRecord};
use super::recovered::{Damage, Recovered};
use super::segment::{BootId, HEAD_BYTES, Head, OldSegment, list_segments, open_regular, seal};
use super::watermark::LastMark;
use crate::core::position::Epoch;

/// The reading of all segments, oldest first.
#[derive(Debug)]
pub(super) struct Recovery {
    now: SystemTime,
    max_memory: usize,
    /// The memory of the records.
    memory: usize,
    pub(super) recovered: Recovered,
    pub(super) segments: VecDeque<OldSegment>,
    pub(super) next_sequence: u64,
    /// The newest segment whose head is good.
    newest: Option<NewestSegment>,
    /// Files without records.
    empty: Vec<PathBuf>,
    /// The time of the last write to any segment, as the file system has it.
    last_write: Option<SystemTime>,
    /// The time of the newest record, which a copy of the file has, too.
    newest_record: Option<SystemTime>,
}

#[derive(Debug)]
struct NewestSegment {
    path: PathBuf,
    head: Head,
    tail: Tail,
    /// The end of the good entries.
    end: u64,
}

/// The end of the entries so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// No mark: nothing was lost if the machine has not been restarted since.
    Open,
    /// Everything is there.
    Closed,
    /// A newer segment existed.
    Sealed,
    /// Records may be lost.
    Lost,
}

impl Recovery {
    /// Reads all segments in `directory`, and decides whether the epoch continues in the boot
    /// `boot` after a run with the watermark `mark`.
    pub(super) fn read(
        directory: &Path,
        boot: BootId,
        mark: LastMark,
        max_memory: usize,
        now: SystemTime,
    ) -> Result<Self, OpenError> {
        let mut recovery = Self {
            now,
            max_memory,
            memory: 0,
            recovered: Recovered {
                epoch: Epoch::random(),
                next_offset: 1,
                records: VecDeque::new(),
                past_requests: Vec::new(),
                horizon: 0,
                dropped: NewestOffsets::new(0),
                gaps: Vec::new(),
                sessions: BTreeMap::new(),
                damage: Vec::new(),
            },
            segments: VecDeque::new(),
            next_sequence: 1,
            newest: None,
            empty: Vec::new(),
            last_write: None,
            newest_record: None,
        };
        for (sequence, path) in list_segments(directory).map_err(OpenError::directory(directory))? {
            recovery.next_sequence = sequence.saturating_add(1);
            if let Err(error) = recovery.read_segment(&path) {
                recovery.skip_segment(&path, error);
            }
        }
        recovery.end_epoch_unless_complete(boot, mark);
        Ok(recovery)
    }

    /// Returns whether nothing was written for longer than `pause`.
    pub(super) fn has_paused_for(&self, pause: Duration) -> bool {
        let last = self.newest_record.or(self.last_write);
        let idle = last.map(|at| self.now.duration_since(at));
        idle.is_some_and(|idle| idle.is_ok_and(|idle| idle > pause))
    }

    fn read_segment(&mut self, path: &Path) -> io::Result<()> {
        let Some(file) = open_regular(path)? else {
            self.report(path, 0, Defect::NotAFile);
            self.lose_tail();
            return Ok(());
        };
        let metadata = file.metadata()?;
        let length = metadata.len();
        self.last_write = self.last_write.max(Some(metadata.modified()?));
        let mut segment = OldSegment {
            path: path.to_owned(),
            bytes: length,
            newest: metadata.modified()?,
        };
        let source = BufReader::with_capacity(READ_BUFFER_BYTES, file);
        match SegmentReader::new(source, length) {
            Ok(mut reader) => {
                self.begin_segment(reader.head().clone(), path);
                let newest = self.read_entries(&mut reader, path);
                if newest.is_none() && reader.offset() == length {
                    self.empty.push(path.to_owned());
                }
                self.newest_record = self.newest_record.max(newest);
                segment.newest = newest.unwrap_or(segment.newest);
            }
            // The process was killed while it created the file. The end of the segment before
            // this one shows whether anything is lost.
            Err(ReadError::Torn) => self.empty.push(path.to_owned()),
            Err(ReadError::Defect(defect)) => {
                self.report(path, 0, defect);
                self.lose_tail();
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Continues without a segment that the system does not let this process read: the site must
    /// not stay down for its history. Retention deletes the file.
    fn skip_segment(&mut self, path: &Path, error: io::Error) {
        self.report(path, 0, Defect::Unreadable(error));
        self.lose_tail();
        if let Ok(metadata) = path.symlink_metadata() {
            self.segments.push_back(OldSegment {
                path: path.to_owned(),
                bytes: metadata.len(),
                newest: metadata.modified().unwrap_or(self.now),
            });
        }
    }

    /// Notes that a file cannot be read that may have followed the newest segment.
    fn lose_tail(&mut self) {
        if let Some(newest) = &mut self.newest {
            newest.tail = Tail::Lost;
        }
    }

    fn begin_segment(&mut self, head: Head, path: &Path) {
        let base_offset = head.base_offset.max(1);
        if self.recovered.epoch == head.epoch {
            self.skip_to(base_offset, path, 0);
        } else {
            self.recovered.start_epoch(self.now);
            self.memory = 0;
            self.recovered.epoch = head.epoch;
            self.recovered.next_offset = base_offset;
            self.recovered.drop_through(base_offset - 1);
        }
        self.newest = Some(NewestSegment {
            path: path.to_owned(),
            head,
            tail: Tail::Open,
            end: 0,
        });
    }

    /// Reads the entries up to the first bad one. Returns the time of the newest record.
    fn read_entries(
        &mut self,
        reader: &mut SegmentReader<impl io::Read>,
        path: &Path,
    ) -> Option<SystemTime> {
        let (mut newest_time, mut tail) = (None, Tail::Open);
        let end = loop {
            let start = reader.offset();
            match reader.next_entry() {
                Ok(Some(Entry::Record(record))) => {
                    let time = record.time;
                    if !self.add_record(record, path, start) {
                        self.report(path, start, Defect::OffsetsReused);
                        tail = Tail::Lost;
                        break start;
                    }
                    newest_time = newest_time.max(Some(time));
                    tail = Tail::Open;
                }
                Ok(Some(Entry::Gap(gap))) => {
                    self.add_gap(gap, path, start);
                    tail = Tail::Open;
                }
                Ok(Some(Entry::Mark(mark))) => {
                    self.recovered.apply(mark);
                    tail = Tail::Open;
                }
                Ok(Some(Entry::Rooms(rooms))) => {
                    self.add_rooms(rooms, start);
                    tail = Tail::Open;
                }
                Ok(Some(Entry::Unknown)) => tail = Tail::Open,
                Ok(Some(Entry::Closed)) => tail = Tail::Closed,
                Ok(Some(Entry::Sealed)) => tail = Tail::Sealed,
                Ok(None) => break start,
                // A killed process leaves this behind a record, but never behind a mark.
                Err(ReadError::Torn) if tail == Tail::Open => break start,
                Err(ReadError::Torn) => {
                    tail = Tail::Lost;
                    break start;
                }
                Err(ReadError::Defect(defect)) => {
                    self.report(path, start, defect);
                    tail = Tail::Lost;
                    break start;
                }
            }
        };
        if let Some(newest) = &mut self.newest {
            newest.tail = tail;
            newest.end = end;
        }
        newest_time
    }

    /// Adds a record; returns false if its offsets were used before.
    fn add_record(&mut self, record: StoredRecord, path: &Path, at: u64) -> bool {
        self.skip_to(record.first_offset, path, at);
        if record.first_offset < self.recovered.next_offset {
            return false;
        }
        self.recovered.next_offset = record.first_offset + record.events.len() as u64;
        self.memory += record.memory();
        self.recovered.records.push_back(record);
        while self.memory > self.max_memory
            && let Some(oldest) = self.recovered.records.front()
        {
            self.memory -= oldest.memory();
            self.recovered.drop_oldest(self.now);
        }
        true
    }

    /// Takes the newest offsets of the rooms at the start of a segment, if no older record can
    /// be replayed.
    fn add_rooms(&mut self, rooms: NewestOffsets<Box<str>>, at: u64) {
        let recovered = &mut self.recovered;
        let is_first = at == HEAD_BYTES as u64;
        if is_first && recovered.horizon + 1 == recovered.next_offset {
            recovered.dropped = rooms;
        }
    }

    /// Continues behind `gap`.
    fn add_gap(&mut self, gap: Gap, path: &Path, at: u64) {
        self.skip_to(gap.first_offset, path, at);
        if self.recovered.next_offset < gap.next_offset {
            self.recovered.drop_through(gap.next_offset - 1);
            self.recovered.next_offset = gap.next_offset;
            self.recovered.gaps.push(gap);
        }
    }

    /// Continues at `offset` if that is higher; reports the offsets that are missing then.
    fn skip_to(&mut self, offset: u64, path: &Path, at: u64) {
        let first = self.recovered.next_offset;
        if first < offset {
            let last = offset - 1;
            self.recovered.drop_through(last);
            self.recovered.next_offset = offset;
            self.report(path, at, Defect::Missing { first, last });
        }
    }

    fn report(&mut self, path: &Path, offset: u64, defect: Defect) {
        self.recovered.damage.push(Damage {
            path: path.to_owned(),
            offset,
            defect,
        });
    }

    /// Starts a new epoch unless the log has every offset that was used.
    ///
    /// The kernel keeps every write of a killed process, so the log is complete if the machine
    /// has not been restarted, and the log reaches up to the watermark. After a restart it is
    /// complete only if it was closed. In every other case an offset may have been used for an
    /// event that is not in the log. A new epoch then ensures that no position stands for two
    /// events.
    fn end_epoch_unless_complete(&mut self, boot: BootId, mark: LastMark) {
        let Some(newest) = &self.newest else {
            return;
        };
        let is_same_boot = newest.head.boot == boot;
        let is_intact = match newest.tail {
            Tail::Closed => true,
            Tail::Open => is_same_boot,
            Tail::Sealed | Tail::Lost => false,
        };
        let is_newest = match mark {
            LastMark::At(position) => {
                // A process that was killed before it wrote the watermark has stored more.
                position.epoch == self.recovered.epoch
                    && position.offset < self.recovered.next_offset
            }
            LastMark::Missing => !is_same_boot,
            LastMark::Unknown => false,
        };
        if newest.tail == Tail::Sealed {
            let (path, end) = (newest.path.clone(), newest.end);
            self.report(&path, end, Defect::NewestMissing);
        }
        if !is_intact || !is_newest {
            self.recovered.start_epoch(self.now);
        }
    }

    /// Cuts the newest segment behind its good entries and seals it; removes files without
    /// records. A new segment must exist and be on disk. Nothing depends on success: later
    /// starts read over what remains.
    pub(super) fn clean_up(&mut self) {
        if let Some(newest) = &self.newest
            && !self.empty.contains(&newest.path)
            && let Ok(file) = OpenOptions::new().write(true).open(&newest.path)
            && file.set_len(newest.end).is_ok()
            && let Ok(bytes) = seal(&file, newest.end)
            && let Some(segment) = self.segments.iter_mut().find(|old| old.path == newest.path)
        {
            segment.bytes = bytes;
        }
        self.segments.retain(|old| {
            !self.empty.contains(&old.path) || std::fs::remove_file(&old.path).is_err()
        });
    }
}

const READ_BUFFER_BYTES: usize = 256 * 1024;
