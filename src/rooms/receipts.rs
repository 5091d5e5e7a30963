//! The receipts of one session: the broadcasts that were written to its stream, and those of
//! them that its client has confirmed. A client that knows no positions gets what it has not
//! confirmed when it returns.
//!
//! A ping carries a [`Mark`] of what was written before it. Browsers answer pings by themselves,
//! and in order. So the pong with this mark confirms all broadcasts before it, and so does a
//! later one: a client may answer only the newest ping (RFC 6455 §5.5.3).
//!
//! The task that writes a batch appends the ping, be it the session's own or the scheduler's:
//! no session is woken for it. Then no batch gets a ping until the session has looked, a
//! second after the pong, whether more was written meanwhile. So a busy session costs one ping
//! and one wake-up a second, and an idle one nothing.
//!
//! Offsets rise over all rooms, and a session gets live events in their order. So one offset
//! says of all rooms what the client has. The exception is a room whose missed events were
//! replayed, which are older: it counts from its own offset until these are confirmed, too.
//!
//! The lock is taken under that of the session's stream or of the registry of sessions. Under it
//! only the queue of marks is locked.

mod past;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::past::{ConfirmedRange, PastReceipts};
use super::history::MarkQueue;
use crate::core::ids::{RoomName, SessionId};
use crate::runtime::sync::Mutex;

/// The receipts of a session. Its stream, its task and the registry of sessions share them.
#[derive(Debug)]
pub(crate) struct Receipts {
    session: SessionId,
    state: Mutex<State>,
    /// The way into the event log.
    marks: Arc<MarkQueue>,
}

#[derive(Debug)]
struct State {
    /// The broadcasts that were written to the stream, or are in its buffer.
    written: Mark,
    confirmed: Mark,
    /// The pings without a pong.
    unanswered: Option<Unanswered>,
    /// Whether the next batch gets a ping.
    is_armed: bool,
    /// The session's rooms in the order of its joins.
    rooms: Vec<RoomReceipt>,
    /// Whether the event log lacks a change of its rooms.
    is_mark_due: bool,
    /// The time of the last mark of its rooms in the event log.
    marked_at: Instant,
    /// The time from which on the marks so far came no faster than one in [`MARK_SPACING`].
    marks_paid_at: Instant,
    /// Whether a session that returned continues this one, which is taken for lost.
    is_superseded: bool,
}

/// A point in the stream of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The number of broadcasts before it.
    count: u64,
    /// The highest of their offsets.
    offset: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unanswered {
    /// The count in the newest of the pings.
    count: u64,
    /// The time of the oldest, or of the last pong if that answered an older one.
    since: Instant,
}

/// A room of the session.
#[derive(Debug)]
struct RoomReceipt {
    room: RoomName,
    /// The client has every event up to this offset, or does not expect it.
    from: u64,
    replay: Replay,
}

/// The events of a room that a client has missed before it joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replay {
    None,
    /// They wait in the session's queue.
    Queued,
    /// They are among the first so many broadcasts of the stream.
    Written(u64),
}

impl Receipts {
    /// Creates the receipts of `session`, which is in no room. What its client confirms goes
    /// to `marks`.
    pub(super) fn new(session: SessionId, marks: Arc<MarkQueue>) -> Self {
        Self {
            session,
            state: Mutex::new(State {
                written: Mark::default(),
                confirmed: Mark::default(),
                unanswered: None,
                is_armed: true,
                rooms: Vec::new(),
                is_mark_due: false,
                marked_at: Instant::now(),
                marks_paid_at: Instant::now(),
                is_superseded: false,
            }),
            marks,
        }
    }

    /// Records `broadcasts` that are added to the stream, `newest` being their highest offset.
    /// Returns the mark of a ping to be written behind them, if one is due.
    pub(super) fn record_written(&self, broadcasts: u64, newest: u64) -> Option<Mark> {
        let mut state = self.state.lock();
        state.written.count += broadcasts;
        state.written.offset = state.written.offset.max(newest);
        let count = state.written.count;
        // A batch holds all that was queued, so the whole replay of each earlier join.
        for room in &mut state.rooms {
            if room.replay == Replay::Queued {
                room.replay = Replay::Written(count);
            }
        }
        std::mem::take(&mut state.is_armed).then(|| state.request())
    }

    /// Returns the mark for a ping that the session writes now for another reason.
    pub(crate) fn request(&self) -> Mark {
        self.state.lock().request()
    }

    /// Records a pong with `payload`. Returns whether the session is to call
    /// [`next_request`](Self::next_request) in [`RECEIPT_INTERVAL`].
    pub(crate) fn confirm(&self, payload: &[u8]) -> bool {
        let Some(mark) = Mark::from_bytes(payload) else {
            return false;
        };
        let mut state = self.state.lock();
        // A client can invent pongs, and would only harm itself.
        if mark.count > state.written.count || mark.offset > state.written.offset {
            return false;
        }
        if mark.count > state.confirmed.count {
            state.confirmed = mark;
            // A mark is about all rooms.
            if state.rooms.iter().all(|room| state.is_confirmed(room)) {
                self.marks.push_confirmed(self.session, mark.offset);
            }
        }
        state.is_superseded = false;
        if let Some(unanswered) = &mut state.unanswered {
            if mark.count < unanswered.count {
                unanswered.since = Instant::now();
                return false;
            }
            state.unanswered = None;
        }
        !state.is_armed
    }

    /// Returns the mark of a ping to be written now, if the client has not confirmed all that
    /// was written. Otherwise the next batch gets a ping.
    pub(crate) fn next_request(&self) -> Option<Mark> {
        let mut state = self.state.lock();
        if state.unanswered.is_some() {
            return None;
        }
        if state.written.count > state.confirmed.count {
            return Some(state.request());
        }
        state.is_armed = true;
        None
    }

    /// Adds a room, of which the client has all events up to the offset `from`. If the session
    /// `is_replayed` what comes after it, that was queued before this call.
    pub(crate) fn enter(&self, room: RoomName, from: u64, is_replayed: bool) {
        let replay = if is_replayed {
            Replay::Queued
        } else {
            Replay::None
        };
        let mut state = self.state.lock();
        state.rooms.retain(|entered| entered.room != room);
        state.rooms.push(RoomReceipt { room, from, replay });
        state.is_mark_due = true;
    }

    /// Removes a room that the session has left; returns what its client has confirmed there.
    pub(super) fn leave(&self, room: &RoomName) -> Option<ConfirmedRange> {
        let mut state = self.state.lock();
        let place = state
            .rooms
            .iter()
            .position(|entered| entered.room == *room)?;
        let left = state.rooms.remove(place);
        state.is_mark_due = true;
        Some(state.range(&left))
    }

    /// Returns what the client has confirmed in `room`, if the session is there.
    pub(super) fn range_in(&self, room: &RoomName) -> Option<ConfirmedRange> {
        let state = self.state.lock();
        let mut rooms = state.rooms.iter();
        Some(state.range(rooms.find(|entered| entered.room == *room)?))
    }

    /// Returns what the client has confirmed in each room of the session.
    pub(super) fn ranges(&self) -> Vec<ConfirmedRange> {
        let state = self.state.lock();
        let rooms = state.rooms.iter();
        rooms.map(|entered| state.range(entered)).collect()
    }

    /// Returns the session's rooms in the order of its joins, each with the offset up to which
    /// the client has all events.
    pub(super) fn confirmed(&self) -> Vec<(RoomName, u64)> {
        let state = self.state.lock();
        let rooms = state.rooms.iter();
        rooms
            .map(|room| (room.room.clone(), state.confirmed_in(room)))
            .collect()
    }

    /// Returns whether the event log gets a new mark of the session now: its rooms have changed,
    /// or the log may soon delete the last one. The marks of a session that joins and leaves
    /// without end must not displace events. So after [`MARK_BURST`] of them, one mark in
    /// [`MARK_SPACING`] has all changes.
    pub(crate) fn take_mark(&self) -> bool {
        let (now, mut state) = (Instant::now(), self.state.lock());
        let is_old = state.marked_at + MARK_INTERVAL <= now && !state.rooms.is_empty();
        let is_early = state.marks_paid_at >= now + MARK_SPACING * MARK_BURST;
        let is_taken = is_old || (state.is_mark_due && !is_early);
        if is_taken {
            state.is_mark_due = false;
            state.marked_at = now;
            state.marks_paid_at = state.marks_paid_at.max(now) + MARK_SPACING;
        }
        is_taken
    }

    /// Returns whether [`take_mark`](Self::take_mark) is to be called later.
    pub(crate) fn is_mark_due(&self) -> bool {
        self.state.lock().is_mark_due
    }

    /// Returns whether the session is in a room.
    pub(super) fn has_rooms(&self) -> bool {
        !self.state.lock().rooms.is_empty()
    }

    /// Requires a pong from now on, although the ping is yet to be written.
    pub(super) fn expect_pong(&self) {
        let mut state = self.state.lock();
        let count = state.written.count;
        state.expect_pong(count);
    }

    /// Returns the time since which a ping is unanswered, if one is.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        Some(state.unanswered?.since)
    }

    /// Takes the session for lost: another one continues it, unless a pong comes after all.
    /// Returns whether it was not taken for lost before.
    pub(super) fn supersede(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().is_superseded, true)
    }

    /// Returns the offset from which on the session gets the events of `room`, if it is there.
    pub(crate) fn entered_at(&self, room: &RoomName) -> Option<u64> {
        let state = self.state.lock();
        let mut rooms = state.rooms.iter();
        Some(rooms.find(|entered| entered.room == *room)?.from)
    }
}

impl State {
    fn request(&mut self) -> Mark {
        self.expect_pong(self.written.count);
        self.written
    }

    fn expect_pong(&mut self, count: u64) {
        let since = Instant::now();
        let unanswered = self.unanswered.get_or_insert(Unanswered { count, since });
        unanswered.count = unanswered.count.max(count);
    }

    /// Returns whether the client has confirmed what was replayed to it in `room`.
    fn is_confirmed(&self, room: &RoomReceipt) -> bool {
        match room.replay {
            Replay::None => true,
            Replay::Queued => false,
            Replay::Written(count) => self.confirmed.count >= count,
        }
    }

    /// Returns the events of `room` that the client has confirmed.
    fn range(&self, room: &RoomReceipt) -> ConfirmedRange {
        ConfirmedRange {
            room: room.room.clone(),
            after: room.from,
            through: self.confirmed_in(room),
        }
    }

    /// Returns the offset up to which the client has all events of `room`.
    fn confirmed_in(&self, room: &RoomReceipt) -> u64 {
        if self.is_confirmed(room) {
            room.from.max(self.confirmed.offset)
        } else {
            room.from
        }
    }
}

impl Mark {
    /// Returns the payload of a ping.
    pub(crate) fn to_bytes(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&self.count.to_be_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    fn from_bytes(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK_BYTES] = payload.try_into().ok()?;
        let (count, offset) = bytes.split_first_chunk()?;
        Some(Self {
            count: u64::from_be_bytes(*count),
            offset: u64::from_be_bytes(*offset.first_chunk()?),
        })
    }
}

/// The length of a mark in a ping.
const MARK_BYTES: usize = 16;
/// The time from a pong to the next ping.
pub(crate) const RECEIPT_INTERVAL: Duration = Duration::from_secs(1);

/// The time after which the event log gets a mark of an open session again.
pub(super) const MARK_INTERVAL: Duration = Duration::from_secs(300);
/// The time between two marks of a session that changes its rooms without end.
const MARK_SPACING: Duration = Duration::from_secs(1);
/// The marks that a session may leave at once: for the rooms that a page joins.
const MARK_BURST: u32 = 12;

#[cfg(test)]
mod tests;
