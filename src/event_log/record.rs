//! The entries of a segment in bytes. Numbers are little-endian.
//!
//! ```text
//! frame    length u32 | CRC-32 of the length | CRC-32 of the payload | payload
//! payload  kind u8, then by kind:
//!   1 record   first offset u64 | time u64 | key length u8 | key | digest (32 bytes, if there
//!              is a key) | number of events u32 | events
//!   2 sealed   nothing; a newer segment follows
//!   3 closed   nothing; all before is on disk
//!   4 gap      first offset u64 | next offset u64
//!   5 to 7     a mark of a session, see `session_mark`
//!   8 rooms    floor u64 | number of rooms u32 | rooms
//! room     newest offset u64 | name length u16 | name
//! event    except | room length u16 | room | text length u32 | text
//! except   0 u8: nobody; 1 u8 | session u64; 2 u8 | session u64 | user length u8 | user
//! ```
//!
//! The length has a checksum of its own, so that a flipped bit in it is not mistaken for a
//! record that a killed process did not finish.

use std::time::SystemTime;

pub(super) use super::frame::MAX_PAYLOAD_BYTES;
pub use super::frame::{FRAME_HEADER_BYTES, InvalidRecord, frame_header};
use super::frame::{Fields, MAX_KEY_BYTES, encode_frame, millis_of, time_of};
use super::session_mark::{CONFIRMED, ENDED, Mark, SESSION};

use super::newest_offsets::NewestOffsets;

/// All events of one publish request. The log stores all of them or none.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The offset of the first event; the others follow without a gap.
    pub first_offset: u64,
    /// The time of the request. The log keeps milliseconds.
    pub time: SystemTime,
    /// The idempotency key of the request, if it had one.
    pub key: Option<RequestKey<'a>>,
    /// The events in their order.
    pub events: &'a [Event<'a>],
}

/// The `Idempotency-Key` of a request, and what identifies its body.
#[derive(Clone, Copy, Debug)]
pub struct RequestKey<'a> {
    /// The key, 1 to 200 bytes.
    pub key: &'a str,
    /// The SHA-256 digest of the request's body.
    pub digest: [u8; 32],
}

/// An event of a room.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The name of the room.
    pub room: &'a str,
    /// The text that the members of the room receive.
    pub text: &'a str,
    /// The session that does not get it, if there is one.
    pub except: Option<Except<&'a str>>,
}

/// A session that does not get an event, because it has caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Except<T> {
    /// The session.
    pub session: u64,
    /// The user to whom it must belong, at most 255 bytes; `None` if it may belong to any.
    pub user: Option<T>,
}

impl<T: AsRef<str>> Except<T> {
    /// Returns the exception with a borrowed user.
    pub fn borrowed(&self) -> Except<&str> {
        Except {
            session: self.session,
            user: self.user.as_ref().map(AsRef::as_ref),
        }
    }
}

/// A [`Record`] that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The offset of the first event; the others follow without a gap.
    pub first_offset: u64,
    /// The time of the request, in whole milliseconds.
    pub time: SystemTime,
    /// The idempotency key of the request, if it had one.
    pub key: Option<StoredKey>,
    /// The events in their order.
    pub events: Vec<StoredEvent>,
}

impl StoredRecord {
    /// Returns its memory in bytes, about.
    pub(super) fn memory(&self) -> usize {
        let texts = self.events.iter();
        let texts = texts.map(StoredEvent::memory);
        let events = self.events.capacity() * size_of::<StoredEvent>();
        size_of::<Self>() + events + texts.sum::<usize>()
    }
}

/// A [`RequestKey`] that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub key: String,
    /// The SHA-256 digest of the request's body.
    pub digest: [u8; 32],
}

/// An [`Event`] that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The name of the room.
    pub room: String,
    /// The text that the members of the room receive.
    pub text: String,
    /// The session that does not get it, if there is one.
    pub except: Option<Except<String>>,
}

impl StoredEvent {
    fn memory(&self) -> usize {
        let user = self.except.as_ref().and_then(|except| except.user.as_ref());
        self.room.capacity() + self.text.capacity() + user.map_or(0, String::capacity)
    }
}

/// An entry of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A publish request.
    Record(StoredRecord),
    /// The end of a segment that a newer one follows.
    Sealed,
    /// The end of a log that was closed.
    Closed,
    /// Offsets of events that were delivered but could not be stored.
    Gap(Gap),
    /// A change of a session whose client knows no positions.
    Mark(Mark),
    /// The newest offset of each room before this place.
    Rooms(NewestOffsets<Box<str>>),
    /// An entry of a kind that this version does not know.
    Unknown,
}

/// Offsets that were used for events that are not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of these offsets.
    pub first_offset: u64,
    /// The first offset after them.
    pub next_offset: u64,
}

/// Appends the frame of `record` to `out`.
///
/// # Errors
/// Returns [`InvalidRecord`] if a part is too long; `out` is as before then.
pub fn encode_record(record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    let start = out.len();
    let result = encode_frame(out, |out| encode_payload(record, out));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends the frame of `gap`.
pub(super) fn encode_gap(gap: Gap, out: &mut Vec<u8>) {
    let mut payload = [GAP; GAP_BYTES];
    payload[1..9].copy_from_slice(&gap.first_offset.to_le_bytes());
    payload[9..].copy_from_slice(&gap.next_offset.to_le_bytes());
    out.extend_from_slice(&frame_header(GAP_BYTES as u32, &payload));
    out.extend_from_slice(&payload);
}

/// Appends the frame of the newest offsets of `rooms`.
pub(super) fn encode_rooms(rooms: &NewestOffsets<Box<str>>, out: &mut Vec<u8>) {
    let mut payload = vec![ROOMS];
    payload.extend_from_slice(&rooms.floor().to_le_bytes());
    // The edge has no rooms with longer names.
    let rooms = rooms.rooms().map(|(name, newest)| {
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        (length, &name.as_bytes()[..length.into()], newest)
    });
    payload.extend_from_slice(&(rooms.len() as u32).to_le_bytes());
    for (length, name, newest) in rooms {
        payload.extend_from_slice(&newest.to_le_bytes());
        payload.extend_from_slice(&length.to_le_bytes());
        payload.extend_from_slice(name);
    }
    out.extend_from_slice(&frame_header(payload.len() as u32, &payload));
    out.extend_from_slice(&payload);
}

/// Returns the length of the frame of `rooms`.
pub(super) fn rooms_bytes(rooms: &NewestOffsets<Box<str>>) -> usize {
    let names = rooms.rooms().map(|(name, _)| name.len() + ROOM_BYTES);
    FRAME_HEADER_BYTES + 1 + 8 + 4 + names.sum::<usize>()
}

/// Appends the frame of the mark [`Entry::Sealed`].
pub(super) fn encode_sealed(out: &mut Vec<u8>) {
    encode_mark(SEALED, out);
}

/// Appends the frame of the mark [`Entry::Closed`].
pub(super) fn encode_closed(out: &mut Vec<u8>) {
    encode_mark(CLOSED, out);
}

fn encode_mark(kind: u8, out: &mut Vec<u8>) {
    let payload = [kind];
    out.extend_from_slice(&frame_header(1, &payload));
    out.extend_from_slice(&payload);
}

fn encode_payload(record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    out.push(RECORD);
    out.extend_from_slice(&record.first_offset.to_le_bytes());
    out.extend_from_slice(&millis_of(record.time).to_le_bytes());
    match record.key {
        None => out.push(0),
        Some(RequestKey { key, digest }) => {
            let length = u8::try_from(key.len()).map_err(|_| InvalidRecord::Key)?;
            if !(1..=MAX_KEY_BYTES).contains(&length) {
                return Err(InvalidRecord::Key);
            }
            out.push(length);
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&digest);
        }
    }
    let count = u32::try_from(record.events.len()).map_err(|_| InvalidRecord::Size)?;
    out.extend_from_slice(&count.to_le_bytes());
    for Event { room, text, except } in record.events {
        encode_except(*except, out)?;
        let length = u16::try_from(room.len()).map_err(|_| InvalidRecord::Room)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(room.as_bytes());
        let length = u32::try_from(text.len()).map_err(|_| InvalidRecord::Size)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

fn encode_except(except: Option<Except<&str>>, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    let Some(Except { session, user }) = except else {
        out.push(EXCEPT_NOBODY);
        return Ok(());
    };
    let kind = user.map_or(EXCEPT_SESSION, |_| EXCEPT_SESSION_OF_USER);
    out.push(kind);
    out.extend_from_slice(&session.to_le_bytes());
    if let Some(user) = user {
        out.push(u8::try_from(user.len()).map_err(|_| InvalidRecord::Size)?);
        out.extend_from_slice(user.as_bytes());
    }
    Ok(())
}

/// Returns the entry in `payload`, or `None` if it is malformed.
pub(super) fn decode(payload: &[u8]) -> Option<Entry> {
    let (&kind, rest) = payload.split_first()?;
    match kind {
        RECORD => {
            let mut fields = Fields::new(rest);
            let record = decode_record(&mut fields)?;
            fields.is_empty().then_some(Entry::Record(record))
        }
        SEALED => Some(Entry::Sealed),
        CLOSED => Some(Entry::Closed),
        GAP => decode_gap(Fields::new(rest)),
        SESSION | CONFIRMED | ENDED => Mark::decode(kind, Fields::new(rest)).map(Entry::Mark),
        ROOMS => decode_rooms(Fields::new(rest)),
        _ => Some(Entry::Unknown),
    }
}

fn decode_gap(mut fields: Fields<'_>) -> Option<Entry> {
    let gap = Gap {
        first_offset: u64::from_le_bytes(fields.array()?),
        next_offset: u64::from_le_bytes(fields.array()?),
    };
    let is_valid = fields.is_empty() && gap.first_offset < gap.next_offset;
    is_valid.then_some(Entry::Gap(gap))
}

fn decode_rooms(mut fields: Fields<'_>) -> Option<Entry> {
    let mut rooms = NewestOffsets::new(u64::from_le_bytes(fields.array()?));
    for _ in 0..u32::from_le_bytes(fields.array()?) {
        let newest = u64::from_le_bytes(fields.array()?);
        let length = u16::from_le_bytes(fields.array()?);
        rooms.note(fields.text(length.into())?.as_str(), newest);
    }
    fields.is_empty().then_some(Entry::Rooms(rooms))
}

fn decode_record(fields: &mut Fields<'_>) -> Option<StoredRecord> {
    let first_offset = u64::from_le_bytes(fields.array()?);
    let time = time_of(u64::from_le_bytes(fields.array()?))?;
    let key = match u8::from_le_bytes(fields.array()?) {
        0 => None,
        length if length > MAX_KEY_BYTES => return None,
        length => Some(StoredKey {
            key: fields.text(length.into())?,
            digest: fields.array()?,
        }),
    };
    let count = u32::from_le_bytes(fields.array()?);
    // The range of offsets must fit into 64 bits.
    first_offset.checked_add(count.into())?;
    let count = usize::try_from(count).ok()?;
    // A wrong count must not reserve more memory than the payload can fill.
    let mut events = Vec::with_capacity(count.min(fields.len() / MIN_EVENT_BYTES));
    for _ in 0..count {
        events.push(decode_event(fields)?);
    }
    Some(StoredRecord {
        first_offset,
        time,
        key,
        events,
    })
}

fn decode_event(fields: &mut Fields<'_>) -> Option<StoredEvent> {
    let except = match u8::from_le_bytes(fields.array()?) {
        EXCEPT_NOBODY => None,
        kind @ (EXCEPT_SESSION | EXCEPT_SESSION_OF_USER) => {
            let session = u64::from_le_bytes(fields.array()?);
            let user = if kind == EXCEPT_SESSION_OF_USER {
                let length = u8::from_le_bytes(fields.array()?);
                Some(fields.text(length.into())?)
            } else {
                None
            };
            Some(Except { session, user })
        }
        _ => return None,
    };
    let length = u16::from_le_bytes(fields.array()?);
    let room = fields.text(length.into())?;
    let length = u32::from_le_bytes(fields.array()?);
    let text = fields.text(usize::try_from(length).ok()?)?;
    Some(StoredEvent { room, text, except })
}

/// The length of an event without room and text that everybody gets.
const MIN_EVENT_BYTES: usize = 7;
const EXCEPT_NOBODY: u8 = 0;
const EXCEPT_SESSION: u8 = 1;
const EXCEPT_SESSION_OF_USER: u8 = 2;
const RECORD: u8 = 1;
const SEALED: u8 = 2;
const CLOSED: u8 = 3;
const GAP: u8 = 4;
const GAP_BYTES: usize = 17;
const ROOMS: u8 = 8;
/// The length of a room without its name.
const ROOM_BYTES: usize = 10;
