//! The parts of which the entries of a segment are made: the frame around a payload, and the
//! fields in it.

use std::time::{Duration, SystemTime};

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

/// Appends a frame, whose payload `encode` appends.
///
/// # Errors
/// The error of `encode`, or `Size` if the payload is too long.
pub(super) fn encode_frame(
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

/// The fields of a payload that are not read yet.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn text(&mut self, length: usize) -> Option<String> {
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        str::from_utf8(text).ok().map(str::to_owned)
    }
}

/// Returns `time` as the log keeps it. A time before 1970 counts as 1970.
pub(super) fn millis_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Returns the time that the log keeps as `millis`, unless the system has no such time.
pub(super) fn time_of(millis: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

/// The number of bytes before a payload.
pub const FRAME_HEADER_BYTES: usize = 12;
/// The maximum length of a payload. A reader takes no memory for a longer one.
pub(super) const MAX_PAYLOAD_BYTES: u32 = 64 * 1024 * 1024;
pub(super) const MAX_KEY_BYTES: u8 = 200;
