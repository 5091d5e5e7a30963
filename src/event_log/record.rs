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
//! event    room length u16 | room | text length u32 | text
//! ```
//!
//! The length has a checksum of its own, so that a flipped bit in it is not mistaken for a
//! record that a killed process did not finish.

use std::time::{Duration, SystemTime};

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

/// The reason why the log cannot store a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// The key is empty or too long.
    #[error("expected an idempotency key of 1 to {MAX_KEY_BYTES} bytes")]
    Key,
    /// The name of a room is too long.
    #[error("expected the name of a room of at most {} bytes", u16::MAX)]
    Room,
    /// The record is too long.
    #[error("expected a record of at most {MAX_PAYLOAD_BYTES} bytes")]
    Size,
    /// The offsets are 0, were used before, or exceed 64 bits.
    #[error("expected offsets that were not used before")]
    Offset,
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

fn encode_frame(
    out: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), InvalidRecord>,
) -> Result<(), InvalidRecord> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    encode(out)?;
    let (header, payload) = out[start..].split_at_mut(FRAME_HEADER_BYTES);
    let length = u32::try_from(payload.len()).map_err(|_| InvalidRecord::Size)?;
    if length > MAX_PAYLOAD_BYTES {
        return Err(InvalidRecord::Size);
    }
    header.copy_from_slice(&frame_header(length, payload));
    Ok(())
}

/// Returns the bytes before a payload.
pub fn frame_header(length: u32, payload: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    let length = length.to_le_bytes();
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&length);
    header[4..8].copy_from_slice(&crc32fast::hash(&length).to_le_bytes());
    header[8..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    header
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
    for Event { room, text } in record.events {
        let length = u16::try_from(room.len()).map_err(|_| InvalidRecord::Room)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(room.as_bytes());
        let length = u32::try_from(text.len()).map_err(|_| InvalidRecord::Size)?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

/// Returns the entry in `payload`, or `None` if it is malformed.
pub(super) fn decode(payload: &[u8]) -> Option<Entry> {
    let (&kind, rest) = payload.split_first()?;
    match kind {
        RECORD => {
            let mut fields = Fields(rest);
            let record = decode_record(&mut fields)?;
            fields.0.is_empty().then_some(Entry::Record(record))
        }
        SEALED => Some(Entry::Sealed),
        CLOSED => Some(Entry::Closed),
        GAP => decode_gap(Fields(rest)),
        _ => Some(Entry::Unknown),
    }
}

fn decode_gap(mut fields: Fields<'_>) -> Option<Entry> {
    let gap = Gap {
        first_offset: u64::from_le_bytes(fields.array()?),
        next_offset: u64::from_le_bytes(fields.array()?),
    };
    let is_valid = fields.0.is_empty() && gap.first_offset < gap.next_offset;
    is_valid.then_some(Entry::Gap(gap))
}

fn decode_record(fields: &mut Fields<'_>) -> Option<StoredRecord> {
    let first_offset = u64::from_le_bytes(fields.array()?);
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::from_le_bytes(fields.array()?));
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
    let mut events = Vec::with_capacity(count.min(fields.0.len() / MIN_EVENT_BYTES));
    for _ in 0..count {
        let length = u16::from_le_bytes(fields.array()?);
        let room = fields.text(length.into())?;
        let length = u32::from_le_bytes(fields.array()?);
        let text = fields.text(usize::try_from(length).ok()?)?;
        events.push(StoredEvent { room, text });
    }
    Some(StoredRecord {
        first_offset,
        time,
        key,
        events,
    })
}

/// The fields of a payload that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        str::from_utf8(text).ok().map(str::to_owned)
    }
}

/// Returns `time` as the log keeps it. A time before 1970 counts as 1970.
fn millis_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The number of bytes before a payload.
pub const FRAME_HEADER_BYTES: usize = 12;
/// The maximum length of a payload. A reader takes no memory for a longer one.
pub(super) const MAX_PAYLOAD_BYTES: u32 = 64 * 1024 * 1024;
const MAX_KEY_BYTES: u8 = 200;
/// The length of an event without room and text.
const MIN_EVENT_BYTES: usize = 6;
const RECORD: u8 = 1;
const SEALED: u8 = 2;
const CLOSED: u8 = 3;
const GAP: u8 = 4;
const GAP_BYTES: usize = 17;
