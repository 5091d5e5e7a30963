//! Files of a directory, as answers: which file a path names, its type, conditions,
//! ranges, what was compressed before.
//!
//! Bytes go from the kernel's cache into a buffer of ours, through TLS, to the
//! socket; the kernel could only spare us that if it did TLS itself.

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

pub use self::body::FileBodyError;
use self::lookup::{LookupResult, find_file};
use self::root_dir::{DiskWait, Entry, RootDir};
pub use self::safe_path::SafePath;
pub use self::settings::Settings;
use crate::core::body::Body;
use crate::core::content_coding::ContentCoding;
use crate::limit::Permit;

/// The files of one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Files {
    settings: Arc<Settings>,
    /// What a thread that serves others may do.
    patience: DiskWait,
}

/// Why a directory cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {} ({key} of a route in config.toml); it must be a {wanted} that the \
     user of pwd-edge may read",
    .path.display()
)]
pub struct UnusableDirectory {
    path: PathBuf,
    key: &'static str,
    wanted: &'static str,
    source: io::Error,
}

/// Why there is no answer although there may be a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The edge's user may not read it.
    #[error("the user of pwd-edge may not read it")]
    Forbidden,
    /// The disk, or the directory is gone.
    #[error("cannot read it")]
    Unreadable(#[from] io::Error),
    /// The disk does not answer.
    #[error("the disk did not answer in {} s", LOOKUP_TIMEOUT.as_secs())]
    Slow,
}

impl Files {
    /// The files that `settings` name.
    ///
    /// # Errors
    /// A directory is missing, is none, or may not be entered; or the fallback is no
    /// file.
    pub fn open(settings: &Settings) -> Result<Self, UnusableDirectory> {
        let patience = if check_directory(&settings.root, "files")? {
            DiskWait::Forbidden
        } else {
            DiskWait::Allowed
        };
        for link in &settings.allowed_symlink_targets {
            check_directory(link, "allowed_symlink_targets")?;
        }
        if let Some(fallback) = &settings.fallback {
            let tree = RootDir::open(settings, DiskWait::Allowed);
            let entry = tree.and_then(|tree| tree.entry(fallback.path()));
            let missing = || io::Error::from(ErrorKind::NotFound);
            let source = match entry {
                Ok(Some(Entry::File(_))) => None,
                Ok(Some(Entry::Directory)) => Some(ErrorKind::IsADirectory.into()),
                Ok(None) => Some(missing()),
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
            patience,
        })
    }

    /// The answer to `request`, a `GET` or `HEAD`, if there is a file for it. As long
    /// as the file is open, `place` is held.
    ///
    /// # Errors
    /// There may be a file, but it cannot be read.
    pub async fn respond<B>(
        &self,
        request: &Request<B>,
        place: Permit,
    ) -> Result<Option<Response<Body>>, Error> {
        let Some(name) = SafePath::parse(request.uri().path()) else {
            return Ok(None);
        };
        let codings = accepted_codings(request);
        let at_once = match self.patience {
            DiskWait::Forbidden => find_file(&self.settings, &name, &codings, DiskWait::Forbidden),
            DiskWait::Allowed => Err(ErrorKind::WouldBlock.into()),
        };
        let (found, place) = match at_once {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.find_blocking(name, codings, place).await?
            }
            found => (found, place),
        };
        match found {
            Ok(LookupResult::File(hit)) => Ok(Some(response::file_response(request, hit, place))),
            Ok(LookupResult::Directory) => Ok(Some(response::redirect_to_directory(request.uri()))),
            Ok(LookupResult::NotFound) => Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Error::Forbidden),
            Err(error) => Err(Error::Unreadable(error)),
        }
    }

    /// Finds it on a thread that may wait for the disk.
    async fn find_blocking(
        &self,
        name: SafePath,
        codings: Vec<ContentCoding>,
        place: Permit,
    ) -> Result<(io::Result<LookupResult>, Permit), Error> {
        let settings = Arc::clone(&self.settings);
        // The place goes along: who waits for a dead disk keeps it.
        let found = tokio::task::spawn_blocking(move || {
            (
                find_file(&settings, &name, &codings, DiskWait::Allowed),
                place,
            )
        });
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, found).await;
        let found = found.map_err(|_| Error::Slow)?;
        found.map_err(|error| Error::Unreadable(io::Error::other(error)))
    }
}

/// What the client accepts, the best first: its weights, then the smallest.
fn accepted_codings<B>(request: &Request<B>) -> Vec<ContentCoding> {
    let mut offers = ContentCoding::parse_accept_encoding(request.headers());
    let rank = |coding| match coding {
        ContentCoding::Brotli => 0,
        ContentCoding::Zstd => 1,
        ContentCoding::Gzip => 2,
    };
    offers.sort_by_key(|(weight, coding)| (std::cmp::Reverse(*weight), rank(*coding)));
    // Repeated, it would only be looked for again.
    offers.truncate(ContentCoding::ALL.len());
    offers.into_iter().map(|(_, coding)| coding).collect()
}

/// Whether a directory is there and what is in it can be reached; and if so, whether
/// it is on a disk of this machine.
fn check_directory(path: &Path, key: &'static str) -> Result<bool, UnusableDirectory> {
    let directory = root_dir::open_directory(path, DiskWait::Allowed);
    let entered = directory.and_then(|directory| {
        let may = Access::EXEC_OK;
        accessat(&directory, ".", may, AtFlags::EACCESS)?;
        root_dir::is_local(&directory)
    });
    entered.map_err(|error| UnusableDirectory {
        path: path.to_owned(),
        key,
        wanted: "directory",
        source: error.into(),
    })
}

/// How long the disk may take to find a file.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
