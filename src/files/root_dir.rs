//! A directory that nobody gets out of, and what is in it.
//!
//! The kernel looks up whole paths and refuses those that leave the directory, by
//! `..` or by symbolic link, however fast somebody renames meanwhile (openat2(2),
//! `RESOLVE_BENEATH`).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat2};
use rustix::io::Errno;

use super::Settings;

/// Whether the disk may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskWait {
    /// No: what the kernel has not in memory is an error, [`io::ErrorKind::WouldBlock`].
    Forbidden,
    /// Yes: not on a thread that serves others.
    Allowed,
}

/// A directory, open for a moment: who swaps it for a new one, as deployments do,
/// needs to tell nobody.
#[derive(Debug)]
pub(super) struct RootDir<'a> {
    directory: OwnedFd,
    settings: &'a Settings,
    patience: DiskWait,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Entry {
    File(File),
    Directory,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(super) struct File {
    pub(super) descriptor: OwnedFd,
    pub(super) size: u64,
    /// When it was last written to, in seconds since 1970.
    pub(super) modified: u64,
}

impl<'a> RootDir<'a> {
    pub(super) fn open(settings: &'a Settings, patience: DiskWait) -> io::Result<Self> {
        Ok(Self {
            directory: open_directory(&settings.root, patience)?,
            settings,
            patience,
        })
    }

    /// What is at `path`; none if there is nothing that may be seen.
    ///
    /// # Errors
    /// It may be there, but cannot be read.
    pub(super) fn entry(&self, path: &str) -> io::Result<Option<Entry>> {
        let path = if path.is_empty() { "." } else { path };
        let found = open_beneath(&self.directory, path, ResolveFlags::empty(), self.patience);
        let found = match found {
            Err(Errno::XDEV) => self.follow_link(path),
            other => other,
        };
        match found {
            Ok(descriptor) => Ok(entry(descriptor)?),
            Err(
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::XDEV
                // Sockets, and names that a file system cannot have.
                | Errno::NXIO | Errno::INVAL | Errno::ILSEQ,
            ) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A link leads out of the directory, or is absolute: where it ends must be in
    /// the directory after all, or in one that links may lead to. That is only where
    /// to look: what is opened is opened below that, without another link.
    fn follow_link(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        if self.patience == DiskWait::Forbidden {
            return Err(Errno::AGAIN);
        }
        let real = |path: &Path| fs::canonicalize(path).map_err(|_| Errno::NOENT);
        let end = real(&self.settings.root.join(path))?;
        for base in [&self.settings.root]
            .into_iter()
            .chain(&self.settings.allowed_symlink_targets)
        {
            let Ok(base) = real(base) else { continue };
            let Ok(rest) = end.strip_prefix(&base) else {
                continue;
            };
            let rest = if rest.as_os_str().is_empty() {
                Path::new(".")
            } else {
                rest
            };
            let base = open_directory(&base, self.patience)?;
            return open_beneath(&base, rest, ResolveFlags::NO_SYMLINKS, self.patience);
        }
        Err(Errno::XDEV)
    }
}

/// A directory by its path, which the sysadmin wrote.
pub(super) fn open_directory(path: &Path, patience: DiskWait) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(CWD, path, flags, ResolveFlags::empty(), patience)
}

/// Whether files there open without anybody being asked. That cannot be left out
/// elsewhere: over a network, or in a program (FUSE), even an open of what the kernel
/// knows waits for an answer.
pub(super) fn is_local(directory: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(LOCAL_FILESYSTEMS.contains(&fstatfs(directory)?.f_type))
}

/// What is at `path` below `open_directory`. Nothing is waited for that is not a file:
/// pipes and devices open at once, and are closed again.
fn open_beneath(
    directory: &OwnedFd,
    path: impl rustix::path::Arg + Copy,
    more: ResolveFlags,
    patience: DiskWait,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
    if patience == DiskWait::Forbidden {
        // What is mounted below may be elsewhere.
        resolve |= ResolveFlags::NO_XDEV;
    }
    let mut found = open(directory, path, flags, resolve, patience);
    // Somebody renames, so the kernel cannot be sure.
    for _ in 0..MAX_TRIES {
        if patience == DiskWait::Allowed && found.as_ref().err() == Some(&Errno::AGAIN) {
            found = open(directory, path, flags, resolve, patience);
        }
    }
    found
}

fn open(
    directory: impl AsFd,
    path: impl rustix::path::Arg,
    flags: OFlags,
    resolve: ResolveFlags,
    patience: DiskWait,
) -> rustix::io::Result<OwnedFd> {
    match patience {
        DiskWait::Allowed => openat2(directory, path, flags, Mode::empty(), resolve),
        DiskWait::Forbidden => {
            let resolve = resolve | ResolveFlags::CACHED;
            let found = openat2(directory, path, flags, Mode::empty(), resolve);
            // Before Linux 5.12 it cannot be asked for.
            found.map_err(|error| match error {
                Errno::INVAL => Errno::AGAIN,
                other => other,
            })
        }
    }
}

fn entry(descriptor: OwnedFd) -> rustix::io::Result<Option<Entry>> {
    let stat = fstat(&descriptor)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(Entry::File(File {
            descriptor,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: u64::try_from(stat.st_mtime).unwrap_or(0),
        })),
        FileType::Directory => Some(Entry::Directory),
        _ => None,
    })
}

const MAX_TRIES: usize = 16;

/// By their numbers in statfs(2): ext4, XFS, Btrfs, tmpfs, overlayfs, ZFS, F2FS,
/// SquashFS, EROFS, bcachefs.
const LOCAL_FILESYSTEMS: [i64; 10] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0x2fc1_2fc1,
    0xf2f5_2010,
    0x7371_7368,
    0xe0f5_e1e2,
    0xca45_1a4e,
];
