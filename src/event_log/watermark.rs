//! The watermark: the position of the newest event that the edge has published, in a file
//! outside of the log.
//!
//! The log alone cannot show that its end is missing, or that the edge has published events
//! meanwhile without it: with another directory, or before an older copy was put in its place.
//! The watermark shows both. It is written after the log and before the events are delivered,
//! so no client knows a higher offset. Its file is on a file system in memory, which takes it
//! also when the disk is full, and which ends with the boot of the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::error::WriteError;
use crate::core::position::{Epoch, Position};
use crate::runtime::state_directory;

/// The file of the watermark.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    /// The open file, and the position in it; `None` before the first write, and after a
    /// failure.
    written: Option<(File, Position)>,
}

/// The watermark of the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastMark {
    /// The newest event of the last run had this position.
    At(Position),
    /// There is no file: the machine was restarted, or the file was removed.
    Missing,
    /// The file cannot be read, or is no watermark.
    Unknown,
}

impl Watermark {
    /// Creates the watermark in the file `path`. Touches nothing.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            written: None,
        }
    }

    /// Reads the watermark of the last run.
    pub(super) fn read_last(&self) -> LastMark {
        match self.try_read() {
            Ok(Some(position)) => LastMark::At(position),
            Ok(None) => LastMark::Unknown,
            Err(error) if error.kind() == io::ErrorKind::NotFound => LastMark::Missing,
            Err(_) => LastMark::Unknown,
        }
    }

    fn try_read(&self) -> io::Result<Option<Position>> {
        let file = open(OpenOptions::new().read(true), &self.path)?;
        let mut bytes = Vec::with_capacity(MARK_BYTES);
        file.take(MARK_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(decode(&bytes))
    }

    /// Writes `position`, unless the file has it. No event with a higher offset may be
    /// delivered until the next call.
    ///
    /// # Errors
    /// Returns the system's error. The file is removed then, so that a start of the same boot
    /// begins a new epoch.
    pub(super) fn write(&mut self, position: Position) -> io::Result<()> {
        if self.written.as_ref().is_some_and(|(_, at)| *at == position) {
            return Ok(());
        }
        let result = self.try_write(position);
        if result.is_err() {
            self.written = None;
            // The first error is the one that matters.
            let _ = std::fs::remove_file(&self.path);
        }
        result.map_err(WriteError::at(&self.path))
    }

    fn try_write(&mut self, position: Position) -> io::Result<()> {
        let file = match self.written.take() {
            Some((file, _)) => file,
            None => open(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600),
                &self.path,
            )?,
        };
        file.write_all_at(&encode(position), 0)?;
        self.written = Some((file, position));
        Ok(())
    }

    /// Writes that the newest events are in no log, so that the next start begins a new epoch.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(crate) fn end_epoch(&mut self) -> io::Result<()> {
        self.write(Position {
            epoch: Epoch::random(),
            offset: 0,
        })
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Checks that the watermark can be written to the file `path`. Its directory may be one that
/// the start of the service creates. Changes nothing.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match open(OpenOptions::new().write(true), path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(directory) if directory.exists() => state_directory::check(directory),
            _ => Ok(()),
        },
        Err(error) => Err(error),
    }
}

/// Opens a regular file. The start must not wait for the reader of a pipe, and the edge must
/// not follow a link that another user has put there.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = options.custom_flags(flags.cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected a regular file",
        ))
    }
}

fn encode(position: Position) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(position.epoch.as_bytes());
    bytes[8..16].copy_from_slice(&position.offset.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let (epoch, rest) = bytes.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (checksum, _) = rest.split_first_chunk()?;
    let is_intact = crc32fast::hash(&bytes[..16]) == u32::from_le_bytes(*checksum);
    Some(Position {
        epoch: Epoch::from_bytes(*epoch).filter(|_| is_intact)?,
        offset: u64::from_le_bytes(*offset),
    })
}

/// Epoch, offset and CRC-32.
const MARK_BYTES: usize = 20;
