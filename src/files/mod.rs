//! Static files: looks up the file of a request below a directory, and makes the response
//! with media type, cache headers, preconditions, ranges and precompressed variants.
//!
//! Bytes are read from the page cache into a buffer and pass through TLS to the socket.
//! `sendfile` would need TLS in the kernel.

mod body;
mod lookup;
mod media_type;
mod preconditions;
mod range;
mod response;
mod root_dir;
mod safe_path;
mod settings;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, Response};
use rustix::fs::{Access, AtFlags, accessat};

pub(crate) use self::body::FileBodyError;
use self::lookup::{LookupResult, find_file};
use self::root_dir::{DiskWait, Entry, RootDir};
pub use self::safe_path::SafePath;
pub(crate) use self::settings::Settings;
use crate::core::body::Body;
use crate::core::content_coding::ContentCoding;
use crate::limit::Permit;

/// The files of one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    settings: Arc<Settings>,
    /// `Forbidden` if a lookup without waiting is tried first, on the runtime's thread. That
    /// is possible on a local disk only.
    first_try: DiskWait,
}

/// The error of a directory or fallback file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {} ({key} of a route); it must be a {wanted} that the \
     user of pwd-edge may read",
    .path.display()
)]
pub struct UnusableDirectory {
    path: PathBuf,
    key: &'static str,
    wanted: &'static str,
    source: io::Error,
}

/// The error of a file that may exist but cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The user of the edge must not read the file.
    #[error("the user of pwd-edge may not read it")]
    Forbidden,
    /// The disk has failed, or the directory is gone.
    #[error("cannot read it")]
    Unreadable(#[source] io::Error),
    /// The disk did not respond in time.
    #[error("the disk did not respond in {} s", LOOKUP_TIMEOUT.as_secs())]
    Slow,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Unreadable(error),
        }
    }
}

impl Files {
    /// Checks the directories and the fallback of `settings`. Blocks on the disk.
    ///
    /// # Errors
    /// Returns [`UnusableDirectory`] if a directory is missing, is not a directory or must
    /// not be entered, or if the fallback is not a readable file.
    pub(crate) fn open(settings: &Settings) -> Result<Self, UnusableDirectory> {
        let first_try = first_try(&settings.root, "files")?;
        for link in &settings.allowed_symlink_targets {
            check_directory(link, "allowed_symlink_targets")?;
        }
        if let Some(fallback) = &settings.fallback {
            let entry = RootDir::open(settings, DiskWait::Allowed)
                .and_then(|root| root.entry(fallback.path()));
            let source = match entry {
                Ok(Some(Entry::File(_))) => None,
                Ok(Some(Entry::Directory)) => Some(ErrorKind::IsADirectory.into()),
                Ok(None) => Some(ErrorKind::NotFound.into()),
                Err(error) => Some(error),
            };
            if let Some(source) = source {
                return Err(UnusableDirectory {
                    path: settings.root.join(fallback.path()),
                    key: "fallback",
                    wanted: "file",
                    source,
                });
            }
        }
        Ok(Self {
            settings: Arc::new(settings.clone()),
            first_try,
        })
    }

    /// Returns the files of `root` without further settings, for [`Files::send`]. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// Returns [`UnusableDirectory`] with `key` as [`Files::open`] does.
    pub(crate) fn in_directory(root: &Path, key: &'static str) -> Result<Self, UnusableDirectory> {
        Ok(Self {
            settings: Arc::new(Settings {
                root: root.to_owned(),
                fallback: None,
                allowed_symlink_targets: Vec::new(),
            }),
            first_try: first_try(root, key)?,
        })
    }

    /// Returns the response to `request`, a `GET` or `HEAD`, or `None` if no file matches.
    /// `permit` is kept as long as the file is open.
    ///
    /// Cancel-safe; a lookup on a blocking thread continues, and releases the permit when
    /// it ends.
    ///
    /// # Errors
    /// Returns [`Error::Forbidden`], [`Error::Unreadable`] or [`Error::Slow`] if a file may
    /// exist but cannot be read.
    pub(crate) async fn respond<B>(
        &self,
        request: &Request<B>,
        permit: Permit,
    ) -> Result<Option<Response<Body>>, Error> {
        let Some(path) = SafePath::parse(request.uri().path()) else {
            return Ok(None);
        };
        let (result, permit) = self.find(path, accepted_codings(request), permit).await?;
        match result? {
            LookupResult::File(found) => Ok(Some(response::file_response(request, found, permit))),
            LookupResult::Directory => Ok(Some(response::redirect_to_directory(request.uri()))),
            LookupResult::NotFound => Ok(None),
        }
    }

    /// Returns the response to `request` with the file at `path` itself, or `None` if there
    /// is none: no index page, and no precompressed file next to it. Otherwise like
    /// [`Files::respond`].
    ///
    /// # Errors
    /// As [`Files::respond`].
    pub(crate) async fn send<B>(
        &self,
        request: &Request<B>,
        path: SafePath,
        permit: Permit,
    ) -> Result<Option<Response<Body>>, Error> {
        let (result, permit) = self.find(path, Vec::new(), permit).await?;
        match result? {
            LookupResult::File(found) => Ok(Some(response::file_response(request, found, permit))),
            LookupResult::Directory | LookupResult::NotFound => Ok(None),
        }
    }

    /// Returns the part of the absolute path `path` below the directory, with a slash at its
    /// beginning; `None` if it is not below. Applications name the directory as it is
    /// configured, or with symbolic links resolved (PHP's `realpath`).
    pub(crate) async fn strip_root<'a>(&self, path: &'a str) -> Option<&'a str> {
        let strip = |root: &Path| {
            let root = root.to_str()?.trim_end_matches('/');
            let rest = path.strip_prefix(root)?;
            rest.starts_with('/').then_some(rest)
        };
        let configured = strip(&self.settings.root);
        if configured.is_some() {
            return configured;
        }
        let root = self.settings.root.clone();
        let resolved = tokio::task::spawn_blocking(move || root.canonicalize()).await;
        strip(&resolved.ok()?.ok()?)
    }

    /// Looks the file up, and returns the permit.
    async fn find(
        &self,
        path: SafePath,
        codings: Vec<ContentCoding>,
        permit: Permit,
    ) -> Result<(io::Result<LookupResult>, Permit), Error> {
        // What the kernel has in memory is found on this thread, which saves the trip to a
        // blocking one; everything else is found there.
        let first_try = match self.first_try {
            DiskWait::Forbidden => find_file(&self.settings, &path, &codings, DiskWait::Forbidden),
            DiskWait::Allowed => Err(ErrorKind::WouldBlock.into()),
        };
        match first_try {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.find_blocking(path, codings, permit).await
            }
            result => Ok((result, permit)),
        }
    }

    /// Looks the file up on a thread that may wait for the disk, and returns the permit.
    async fn find_blocking(
        &self,
        path: SafePath,
        codings: Vec<ContentCoding>,
        permit: Permit,
    ) -> Result<(io::Result<LookupResult>, Permit), Error> {
        let settings = Arc::clone(&self.settings);
        // The thread takes the permit along: as long as it hangs on a dead disk, it counts.
        let lookup = tokio::task::spawn_blocking(move || {
            (
                find_file(&settings, &path, &codings, DiskWait::Allowed),
                permit,
            )
        });
        tokio::time::timeout(LOOKUP_TIMEOUT, lookup)
            .await
            .map_err(|_| Error::Slow)?
            .map_err(|error| Error::Unreadable(io::Error::other(error)))
    }
}

/// Returns the codings that the client accepts, the best first: by the client's weights,
/// then by compressed size.
fn accepted_codings<B>(request: &Request<B>) -> Vec<ContentCoding> {
    let mut offers = ContentCoding::parse_accept_encoding(request.headers());
    let rank = |coding| match coding {
        ContentCoding::Brotli => 0,
        ContentCoding::Zstd => 1,
        ContentCoding::Gzip => 2,
    };
    offers.sort_by_key(|(weight, coding)| (std::cmp::Reverse(*weight), rank(*coding)));
    // A client may repeat a coding many times; each would cost a lookup.
    offers.truncate(ContentCoding::ALL.len());
    offers.into_iter().map(|(_, coding)| coding).collect()
}

/// Checks a directory, and returns whether lookups in it are tried first without waiting.
fn first_try(root: &Path, key: &'static str) -> Result<DiskWait, UnusableDirectory> {
    Ok(if check_directory(root, key)? {
        DiskWait::Forbidden
    } else {
        DiskWait::Allowed
    })
}

/// Checks that a directory exists and may be entered, and returns whether it is on a local
/// file system.
fn check_directory(path: &Path, key: &'static str) -> Result<bool, UnusableDirectory> {
    root_dir::open_directory(path, DiskWait::Allowed)
        .and_then(|directory| {
            accessat(&directory, ".", Access::EXEC_OK, AtFlags::EACCESS)?;
            root_dir::is_local(&directory)
        })
        .map_err(|error| UnusableDirectory {
            path: path.to_owned(),
            key,
            wanted: "directory",
            source: error.into(),
        })
}

/// The time that a lookup may wait for the disk.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
