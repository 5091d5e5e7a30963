//! Confined access to a directory: no path leads out of it.
//!
//! The kernel resolves the whole path and rejects one that leaves the directory by `..` or
//! by a symbolic link (openat2(2), `RESOLVE_BENEATH`). So there is no race between a check
//! and the open, even if files are renamed meanwhile.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat2};
use rustix::io::Errno;

use super::Settings;

/// Whether an operation may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskWait {
    /// The operation fails with [`io::ErrorKind::WouldBlock`] for anything that the kernel
    /// does not have in memory.
    Forbidden,
    /// The operation may block, so it must run on a blocking thread.
    Allowed,
}

/// The root directory, opened for one lookup. A deployment that replaces the directory by a
/// new one therefore takes effect at once.
#[derive(Debug)]
pub(super) struct RootDir<'a> {
    directory: OwnedFd,
    settings: &'a Settings,
    disk_wait: DiskWait,
}

/// An entry of the directory tree.
#[derive(Debug)]
pub(super) enum Entry {
    File(File),
    Directory,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(super) struct File {
    pub(super) descriptor: OwnedFd,
    /// The size in bytes.
    pub(super) size: u64,
    /// The time of the last modification, in seconds since 1970.
    pub(super) modified: u64,
}

impl<'a> RootDir<'a> {
    /// Opens the root of `settings`.
    pub(super) fn open(settings: &'a Settings, disk_wait: DiskWait) -> io::Result<Self> {
        Ok(Self {
            directory: open_directory(&settings.root, disk_wait)?,
            settings,
            disk_wait,
        })
    }

    /// Opens the entry at `path`, relative to the root. Returns `None` if there is nothing,
    /// or nothing that may be served: an entry outside, or neither a file nor a directory.
    ///
    /// # Errors
    /// Returns an error if an entry may exist but cannot be read, and
    /// [`io::ErrorKind::WouldBlock`] if the disk must be waited for and must not.
    pub(super) fn entry(&self, path: &str) -> io::Result<Option<Entry>> {
        let path = if path.is_empty() { "." } else { path };
        let opened =
            match open_beneath(&self.directory, path, ResolveFlags::empty(), self.disk_wait) {
                Err(Errno::XDEV) => self.follow_link(path),
                other => other,
            };
        match opened {
            Ok(descriptor) => Ok(entry(descriptor)?),
            Err(
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::XDEV
                // Sockets, and names that the file system does not allow.
                | Errno::NXIO | Errno::INVAL | Errno::ILSEQ,
            ) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens `path` through a symbolic link that is absolute or leads out of the directory.
    /// The link must end in the directory after all, or in an allowed target.
    ///
    /// The canonical path only says where to look. The file is then opened below the
    /// directory that contains it, without following links, so a link that is replaced
    /// meanwhile leads nowhere.
    fn follow_link(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        if self.disk_wait == DiskWait::Forbidden {
            return Err(Errno::AGAIN);
        }
        let canonicalize = |path: &Path| fs::canonicalize(path).map_err(|_| Errno::NOENT);
        let target = canonicalize(&self.settings.root.join(path))?;
        for base in [&self.settings.root]
            .into_iter()
            .chain(&self.settings.allowed_symlink_targets)
        {
            let Ok(base) = canonicalize(base) else {
                continue;
            };
            let relative = match target.strip_prefix(&base) {
                Ok(relative) if relative.as_os_str().is_empty() => Path::new("."),
                Ok(relative) => relative,
                Err(_) => continue,
            };
            let directory = open_directory(&base, self.disk_wait)?;
            return open_beneath(
                &directory,
                relative,
                ResolveFlags::NO_SYMLINKS,
                self.disk_wait,
            );
        }
        Err(Errno::XDEV)
    }
}

/// Opens a directory of the configuration. Its path is trusted, so links are followed.
pub(super) fn open_directory(path: &Path, disk_wait: DiskWait) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(CWD, path, flags, ResolveFlags::empty(), disk_wait)
}

/// Returns whether the directory is on a local file system. On a network file system or
/// FUSE, even opening a cached file may wait for a server or a program, so lookups must not
/// run on the runtime's threads.
pub(super) fn is_local(directory: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(LOCAL_FILESYSTEMS.contains(&fstatfs(directory)?.f_type))
}

/// Opens `path` below `directory` for reading. The open of a FIFO or a device does not block
/// (`O_NONBLOCK`); the caller closes it again.
fn open_beneath(
    directory: &OwnedFd,
    path: impl rustix::path::Arg + Copy,
    more: ResolveFlags,
    disk_wait: DiskWait,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
    if disk_wait == DiskWait::Forbidden {
        // Another file system may be mounted below, and it may not be local.
        resolve |= ResolveFlags::NO_XDEV;
    }
    let mut opened = open(directory, path, flags, resolve, disk_wait);
    // EAGAIN: files were renamed during the lookup, so the kernel could not make sure that
    // the path stays below the directory.
    for _ in 0..MAX_RETRIES {
        if disk_wait == DiskWait::Allowed && opened.as_ref().err() == Some(&Errno::AGAIN) {
            opened = open(directory, path, flags, resolve, disk_wait);
        }
    }
    opened
}

fn open(
    directory: impl AsFd,
    path: impl rustix::path::Arg,
    flags: OFlags,
    resolve: ResolveFlags,
    disk_wait: DiskWait,
) -> rustix::io::Result<OwnedFd> {
    match disk_wait {
        DiskWait::Allowed => openat2(directory, path, flags, Mode::empty(), resolve),
        DiskWait::Forbidden => {
            let cached = resolve | ResolveFlags::CACHED;
            let opened = openat2(directory, path, flags, Mode::empty(), cached);
            // Linux before 5.12 does not know RESOLVE_CACHED.
            opened.map_err(|error| match error {
                Errno::INVAL => Errno::AGAIN,
                other => other,
            })
        }
    }
}

/// Returns the entry of an open descriptor; `None` for anything but files and directories.
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

const MAX_RETRIES: usize = 16;

/// The `f_type` of local file systems in statfs(2): ext4, XFS, Btrfs, tmpfs, overlayfs, ZFS,
/// F2FS, SquashFS, EROFS, bcachefs.
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
