//! The contents of the log at start.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::defect::Defect;
use super::newest_offsets::NewestOffsets;
use super::record::{Gap, StoredKey, StoredRecord};
use super::session_mark::{Mark, SessionMark};
use crate::core::position::{Epoch, Position};

/// The contents of the log at start.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The epoch of the events to come. It is new if events of the last one may be lost.
    pub(crate) epoch: Epoch,
    /// The first offset that this epoch has not used.
    pub(crate) next_offset: u64,
    /// The newest records of this epoch, in the order of their offsets. Some of those at or
    /// below the horizon are here too, for their idempotency keys.
    pub(crate) records: VecDeque<StoredRecord>,
    /// Other requests whose idempotency keys have not expired.
    pub(crate) past_requests: Vec<PastRequest>,
    /// The newest offset of this epoch that is not in the log, 0 if none. Retention has deleted
    /// it, it was not stored, it is damaged, or it exceeds the memory. A client that knows less than this offset has
    /// missed events that cannot be replayed; every event after it is in `records`.
    pub(crate) horizon: u64,
    /// The newest offset of each room that is not above the horizon.
    pub(crate) dropped: NewestOffsets<Box<str>>,
    /// The events of this epoch that were delivered but could not be stored.
    pub(crate) gaps: Vec<Gap>,
    /// The sessions of this epoch whose clients know no positions, and which have not ended.
    pub(crate) sessions: BTreeMap<u64, SessionMark>,
    /// The damage that the start has found. Records before damage are in the log, and so are
    /// those of later segments.
    pub(crate) damage: Vec<Damage>,
}

/// A request whose events cannot be replayed, but a retry must not publish them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastRequest {
    /// The key of the request.
    pub(crate) key: StoredKey,
    /// The position of its first event.
    pub(crate) position: Position,
    /// The number of its events.
    pub(crate) events: usize,
    /// The time of the request.
    pub(crate) time: SystemTime,
}

/// Damage of a file of the log.
#[derive(Debug)]
pub(crate) struct Damage {
    /// The file.
    pub(crate) path: PathBuf,
    /// The place in the file.
    pub(crate) offset: u64,
    /// The defect there.
    pub(crate) defect: Defect,
}

impl Recovered {
    /// Counts all events up to `offset` as missing.
    pub(super) fn drop_through(&mut self, offset: u64) {
        self.horizon = offset;
        self.dropped = NewestOffsets::new(offset);
    }

    /// Drops the oldest record, except for its key.
    pub(super) fn drop_oldest(&mut self, now: SystemTime) {
        let Some(record) = self.records.pop_front() else {
            return;
        };
        for (offset, event) in (record.first_offset..).zip(&record.events) {
            self.dropped.note(event.room.as_str(), offset);
            self.horizon = self.horizon.max(offset);
        }
        self.keep_key(record, now);
    }

    /// Keeps the key of a record if it has not expired.
    fn keep_key(&mut self, record: StoredRecord, now: SystemTime) {
        // A time in the future means that the clock was set back: the key is kept.
        let age = now.duration_since(record.time).unwrap_or_default();
        if let Some(key) = record.key.filter(|_| age < KEY_TTL) {
            self.past_requests.push(PastRequest {
                key,
                position: Position {
                    epoch: self.epoch,
                    offset: record.first_offset,
                },
                events: record.events.len(),
                time: record.time,
            });
        }
    }

    /// Returns the newest offset of each room.
    pub(super) fn newest_by_room(&self) -> NewestOffsets<Box<str>> {
        let mut rooms = self.dropped.clone();
        for record in &self.records {
            for (offset, event) in (record.first_offset..).zip(&record.events) {
                rooms.note(event.room.as_str(), offset);
            }
        }
        rooms
    }

    /// Starts a new epoch: keeps nothing of the records but the keys that have not expired.
    pub(super) fn start_epoch(&mut self, now: SystemTime) {
        for record in std::mem::take(&mut self.records) {
            self.keep_key(record, now);
        }
        self.epoch = Epoch::random();
        self.next_offset = 1;
        self.drop_through(0);
        self.gaps.clear();
        self.sessions.clear();
    }

    /// Applies the change of a session.
    pub(super) fn apply(&mut self, mark: Mark) {
        match mark {
            Mark::Session(mark) => {
                self.sessions.insert(mark.session, mark);
            }
            Mark::Confirmed { session, offset } => {
                let session = self.sessions.get_mut(&session);
                for (_, confirmed) in session.into_iter().flat_map(|mark| &mut mark.rooms) {
                    *confirmed = offset.max(*confirmed);
                }
            }
            Mark::Ended { session } => {
                self.sessions.remove(&session);
            }
        }
    }
}

/// The time for which the log returns the idempotency keys of older epochs.
const KEY_TTL: Duration = Duration::from_secs(300);
