//! Defects that a start may find in the files of the log.

use std::io;

/// A defect of the log's files.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    /// The file does not begin as segments do.
    #[error("the file is not a segment of the event log")]
    Magic,
    /// There is something else in the place of the file: a directory, a pipe, a socket.
    #[error("expected a regular file")]
    NotAFile,
    /// The segment has another version of the format.
    #[error("the segment has version {0}, which this pwd-edge cannot read")]
    Version(u32),
    /// The head of the segment has changed.
    #[error("the head of the segment does not match its checksum")]
    Head,
    /// An entry has changed.
    #[error("the record does not match its checksum")]
    Checksum,
    /// An entry has its checksum, but no valid contents.
    #[error("the record is malformed")]
    Malformed,
    /// A record has offsets that an earlier record has.
    #[error("the record has offsets of earlier events")]
    OffsetsReused,
    /// Offsets are missing before this place.
    #[error("the events {first} to {last} are missing")]
    Missing {
        /// The first missing offset.
        first: u64,
        /// The last missing offset.
        last: u64,
    },
    /// The newest segments are missing.
    #[error("the segment that followed is missing")]
    NewestMissing,
    /// The system cannot read the file.
    #[error("the file cannot be read")]
    Unreadable(#[source] io::Error),
}
