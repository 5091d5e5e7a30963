//! Errors of opening the log. Each names the path and a cure.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The reason why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there and cannot be created, or it cannot be read.
    #[error(
        "cannot create or read {} for the event log; let the user that runs pwd-edge own it",
        .path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A segment cannot be opened.
    #[error(
        "cannot open {} of the event log, which the user {} owns; run this as the user of the \
         edge, and let that user own the file",
        .path.display(),
        .owner.map_or_else(|| "unknown".to_owned(), |owner| owner.to_string())
    )]
    Segment {
        /// The file of the segment.
        path: PathBuf,
        /// The id of the user who owns it, if that is known.
        owner: Option<u32>,
        /// The system's error.
        source: io::Error,
    },
    /// No new segment can be created.
    #[error(
        "cannot write to {} for the event log; let the user that runs pwd-edge write there",
        .path.display()
    )]
    Write {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has the log open.
    #[error(
        "another process uses the event log in {}; stop it, or choose another directory",
        .path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// A file of the log, or beside it, cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", .path.display())]
pub(super) struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl WriteError {
    /// Returns a function that adds `path` to an error. The kind stays.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
        let path = path.to_owned();
        |source| io::Error::new(source.kind(), Self { path, source })
    }
}

impl OpenError {
    /// Returns a function that turns an error about the directory `path` into this one.
    pub(super) fn directory(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Directory { path, source }
    }

    /// Returns a function that turns an error about the segment `path` into this one.
    pub(super) fn segment(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Segment {
            owner: path.symlink_metadata().ok().map(|metadata| metadata.uid()),
            path,
            source,
        }
    }

    /// Returns a function that turns an error of writing into the directory `path` into this
    /// one.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }

    /// Returns the error of a directory that another process has locked.
    pub(super) fn locked(path: &Path) -> Self {
        Self::Locked {
            path: path.to_owned(),
        }
    }
}
