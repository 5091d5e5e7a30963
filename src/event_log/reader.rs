//! Reads one segment, entry by entry.

use std::io::{self, Read};

use super::defect::Defect;
use super::record::{Entry, FRAME_HEADER_BYTES, MAX_PAYLOAD_BYTES, decode};
use super::segment::{HEAD_BYTES, Head};

/// Reads the entries of one segment from its start up to the first bad one.
#[derive(Debug)]
pub struct SegmentReader<R> {
    source: R,
    head: Head,
    /// The end of the last good entry.
    offset: u64,
    length: u64,
    payload: Vec<u8>,
}

/// The reason why a reader stops before the end of a segment.
#[derive(Debug)]
pub enum ReadError {
    /// The segment ends within an entry or within its head, as after a killed process.
    Torn,
    /// The bytes are not those that the log wrote.
    Defect(Defect),
}

impl<R: Read> SegmentReader<R> {
    /// Reads the head of the segment in `source`, which has `length` bytes.
    ///
    /// # Errors
    /// Returns [`ReadError`] if there is no valid head.
    pub fn new(mut source: R, length: u64) -> Result<Self, ReadError> {
        if length < HEAD_BYTES as u64 {
            return Err(ReadError::Torn);
        }
        let mut head = [0; HEAD_BYTES];
        source.read_exact(&mut head)?;
        Ok(Self {
            source,
            head: Head::decode(&head).map_err(ReadError::Defect)?,
            offset: HEAD_BYTES as u64,
            length,
            payload: Vec::new(),
        })
    }

    /// Returns the head of the segment.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the place in the file where the last good entry ends.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next entry; returns `None` at the end of the segment.
    ///
    /// # Errors
    /// Returns [`ReadError`] if there is no good entry. The reader is of no use afterwards.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let remaining = self.length - self.offset;
        if remaining == 0 {
            return Ok(None);
        }
        let Some(remaining) = remaining.checked_sub(FRAME_HEADER_BYTES as u64) else {
            return Err(ReadError::Torn);
        };
        let mut header = [0; FRAME_HEADER_BYTES];
        self.source.read_exact(&mut header)?;
        let [length, length_checksum, checksum] =
            std::array::from_fn(|n| std::array::from_fn::<u8, 4, _>(|byte| header[4 * n + byte]));
        if crc32fast::hash(&length) != u32::from_le_bytes(length_checksum) {
            return Err(ReadError::Defect(Defect::Checksum));
        }
        let length = u32::from_le_bytes(length);
        if length > MAX_PAYLOAD_BYTES {
            return Err(ReadError::Defect(Defect::Malformed));
        }
        if u64::from(length) > remaining {
            return Err(ReadError::Torn);
        }
        self.payload.resize(length as usize, 0);
        self.source.read_exact(&mut self.payload)?;
        if crc32fast::hash(&self.payload) != u32::from_le_bytes(checksum) {
            return Err(ReadError::Defect(Defect::Checksum));
        }
        let entry = decode(&self.payload).ok_or(ReadError::Defect(Defect::Malformed))?;
        self.offset += (FRAME_HEADER_BYTES + self.payload.len()) as u64;
        Ok(Some(entry))
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Defect(Defect::Unreadable(error))
    }
}
