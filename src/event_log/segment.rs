//! A segment: one file of the log, and how it is written.
//!
//! ```text
//! head     magic (8 bytes) | version u32 | epoch (8 bytes) | boot id (16 bytes) |
//!          base offset u64 | CRC-32 of all this
//! then     entries, see `record`; the first is the table of rooms
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::defect::Defect;
use super::error::OpenError;
use super::newest_offsets::NewestOffsets;
use super::record::{encode_closed, encode_rooms, encode_sealed};
use crate::core::position::Epoch;

/// The start of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The epoch of all events of the segment.
    pub epoch: Epoch,
    /// The boot of the machine during which the segment was written.
    pub boot: BootId,
    /// The first offset that no older segment has.
    pub base_offset: u64,
}

impl Head {
    /// Returns the head in bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = Vec::with_capacity(CHECKSUM_AT);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(self.epoch.as_bytes());
        bytes.extend_from_slice(&self.boot.0);
        bytes.extend_from_slice(&self.base_offset.to_le_bytes());
        let mut head = [0; HEAD_BYTES];
        let (fields, checksum) = head.split_at_mut(CHECKSUM_AT);
        fields.copy_from_slice(&bytes);
        checksum.copy_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        head
    }

    /// Reads a head.
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, Defect> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(Defect::Head)?;
        let (version, rest) = rest.split_first_chunk().ok_or(Defect::Head)?;
        let (epoch, rest) = rest.split_first_chunk().ok_or(Defect::Head)?;
        let (boot, rest) = rest.split_first_chunk().ok_or(Defect::Head)?;
        let (base_offset, rest) = rest.split_first_chunk().ok_or(Defect::Head)?;
        let (checksum, _) = rest.split_first_chunk().ok_or(Defect::Head)?;
        if magic != MAGIC {
            return Err(Defect::Magic);
        }
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(Defect::Version(version));
        }
        if crc32fast::hash(&bytes[..CHECKSUM_AT]) != u32::from_le_bytes(*checksum) {
            return Err(Defect::Head);
        }
        Ok(Self {
            epoch: Epoch::from_bytes(*epoch).ok_or(Defect::Head)?,
            boot: BootId(*boot),
            base_offset: u64::from_le_bytes(*base_offset),
        })
    }
}

/// The id that the kernel gives to each boot of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Returns the id of the present boot. If the kernel does not provide it, the id is random,
    /// so that it equals that of no other boot.
    pub(super) fn current() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let id = u128::from_str_radix(&text.trim().replace('-', ""), 16);
        Self(id.unwrap_or_else(|_| fastrand::u128(..)).to_be_bytes())
    }
}

/// A segment that is no longer written.
#[derive(Clone, Debug)]
pub(super) struct OldSegment {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// The time of its newest record; that of the file if it has none.
    pub(super) newest: SystemTime,
}

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    /// Shared with a [`Flush`](super::Flush) that runs.
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    /// The length of the file up to the end of the last entry.
    pub(super) bytes: u64,
    /// The times of the oldest and of the newest record or mark, if there are any.
    pub(super) times: Option<(SystemTime, SystemTime)>,
}

impl ActiveSegment {
    /// Creates the segment number `sequence` in `directory`, readable by its owner only, which
    /// begins with the newest offsets of `rooms`. A file that is incomplete does not stay.
    pub(super) fn create(
        directory: &Path,
        sequence: u64,
        head: &Head,
        rooms: &NewestOffsets<Box<str>>,
    ) -> io::Result<Self> {
        let path = directory.join(file_name(sequence));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        let mut start = head.encode().to_vec();
        encode_rooms(rooms, &mut start);
        if let Err(error) = file.write_all_at(&start, 0) {
            // The first error is the one that matters.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self {
            file: Arc::new(file),
            path,
            bytes: start.len() as u64,
            times: None,
        })
    }

    /// Writes `entries` behind the last entry. On an error the segment may end with a part of
    /// them; [`ActiveSegment::cut_back`] removes it.
    pub(super) fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        self.file.write_all_at(entries, self.bytes)?;
        self.bytes += entries.len() as u64;
        Ok(())
    }

    /// Counts the time of a record or of marks.
    pub(super) fn add_time(&mut self, time: SystemTime) {
        let (oldest, newest) = self.times.unwrap_or((time, time));
        self.times = Some((oldest.min(time), newest.max(time)));
    }

    /// Cuts the file at the end of the last entry.
    pub(super) fn cut_back(&self) -> io::Result<()> {
        self.file.set_len(self.bytes)
    }

    /// Writes that a newer segment follows. It only shows a start that the newer one is
    /// missing, so nothing depends on success.
    pub(super) fn seal(&mut self) {
        match seal(&self.file, self.bytes) {
            Ok(end) => self.bytes = end,
            Err(_) => drop(self.cut_back()),
        }
    }

    /// Writes that the log is complete. Everything before must be on disk.
    pub(super) fn close(&mut self) -> io::Result<()> {
        let mut mark = Vec::new();
        encode_closed(&mut mark);
        self.append(&mark)
    }

    /// Ends the writing of the segment.
    pub(super) fn retire(self) -> (OldSegment, Arc<File>) {
        let newest = self.times.map(|(_, newest)| newest);
        let old = OldSegment {
            path: self.path,
            bytes: self.bytes,
            newest: newest.unwrap_or(SystemTime::UNIX_EPOCH),
        };
        (old, self.file)
    }

    /// Returns whether the file has no name any more, so that no start would find it.
    pub(super) fn is_deleted(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

/// Writes at `end`, the end of the entries of `file`, that a newer segment follows. Returns the
/// new end.
pub(super) fn seal(file: &File, end: u64) -> io::Result<u64> {
    let mut mark = Vec::new();
    encode_sealed(&mut mark);
    file.write_all_at(&mark, end)?;
    Ok(end + mark.len() as u64)
}

/// Returns the name of the segment number `sequence`.
fn file_name(sequence: u64) -> String {
    format!("{sequence:020}.{EXTENSION}")
}

/// Returns the number of the segment `path`, or `None` if it has no name of a segment.
pub(super) fn sequence_of(path: &Path) -> Option<u64> {
    let sequence = path.file_stem()?.to_str()?.parse().ok()?;
    (path.file_name()?.to_str()? == file_name(sequence)).then_some(sequence)
}

/// Checks that this process can open all segments in `directory`, if it is there.
///
/// # Errors
/// Returns [`OpenError::Segment`] for the first that it cannot open.
pub(crate) fn check_segments(directory: &Path) -> Result<(), OpenError> {
    // A directory that cannot be read is reported by the check of the directory.
    for (_, path) in list_segments(directory).unwrap_or_default() {
        open_regular(&path).map_err(OpenError::segment(&path))?;
    }
    Ok(())
}

/// Returns the segments in `directory` with their numbers, oldest first.
pub(super) fn list_segments(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        segments.extend(sequence_of(&path).map(|sequence| (sequence, path)));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Opens the file `path` unless it is something else, such as a pipe, whose writer the start
/// would wait for.
pub(super) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let result = OpenOptions::new().read(true).custom_flags(flags).open(path);
    // A socket, a device without a driver, or a link that leads nowhere.
    let is_no_file = |error: &io::Error| {
        let errno = Errno::from_io_error(error);
        errno.is_some_and(|errno| [Errno::NXIO, Errno::NODEV, Errno::NOENT].contains(&errno))
    };
    let file = match result {
        Err(error) if is_no_file(&error) => return Ok(None),
        result => result?,
    };
    let is_regular = file.metadata()?.is_file();
    Ok(is_regular.then_some(file))
}

/// The length of the head.
pub const HEAD_BYTES: usize = CHECKSUM_AT + 4;
const CHECKSUM_AT: usize = 44;
const MAGIC: &[u8; 8] = b"pwd-log\n";
const VERSION: u32 = 1;
const EXTENSION: &str = "segment";
