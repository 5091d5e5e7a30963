//! Files of a directory, as answers: which file a path names, its type, conditions,
//! ranges, what was compressed before.
//!
//! Bytes go from the kernel's cache into a buffer of ours, through TLS, to the
//! socket; the kernel could only spare us that if it did TLS itself.

mod answer;
mod body;
mod conditions;
mod find;
mod kind;
mod name;
mod range;
mod settings;
mod tree;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, Response};
use rustix::fs::{Access, AtFlags, accessat};

pub use self::body::BrokenOff;
use self::find::{Found, find};
pub use self::name::Name;
pub use self::settings::Settings;
use self::tree::{Entry, Patience, Tree};
use crate::body::Body;
use crate::content_coding::ContentCoding;
use crate::limit::Permit;

/// The files of one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Files {
    settings: Arc<Settings>,
    /// What a thread that serves others may do.
    patience: Patience,
}

/// Why a directory cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use {} ({key} of a route in config.toml): {cause}; it must be a {wanted} that the \
     user of pwd-edge may read",
    .path.display()
)]
pub struct Unusable {
    path: PathBuf,
    key: &'static str,
    wanted: &'static str,
    cause: io::Error,
}

/// Why there is no answer although there may be a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The edge's user may not read it.
    #[error("the user of pwd-edge may not read it")]
    Forbidden,
    /// The disk, or the directory is gone.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// The disk does not answer.
    #[error("the disk did not answer in {} s", PATIENCE.as_secs())]
    Slow,
}

impl Files {
    /// The files that `settings` name.
    ///
    /// # Errors
    /// A directory is missing, is none, or may not be entered; or the fallback is no
    /// file.
    pub fn open(settings: &Settings) -> Result<Self, Unusable> {
        let patience = match enter(&settings.root, "files")? {
            true => Patience::None,
            false => Patience::Disk,
        };
        for link in &settings.links {
            enter(link, "links")?;
        }
        if let Some(fallback) = &settings.fallback {
            let tree = Tree::open(settings, Patience::Disk);
            let entry = tree.and_then(|tree| tree.entry(fallback.path()));
            let missing = || io::Error::from(ErrorKind::NotFound);
            let cause = match entry {
                Ok(Some(Entry::File(_))) => None,
                Ok(Some(Entry::Directory)) => Some(ErrorKind::IsADirectory.into()),
                Ok(None) => Some(missing()),
                Err(error) => Some(error),
            };
            if let Some(cause) = cause {
                return Err(Unusable {
                    path: settings.root.join(fallback.path()),
                    key: "fallback",
                    wanted: "file",
                    cause,
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
    pub async fn answer<B>(
        &self,
        request: &Request<B>,
        place: Permit,
    ) -> Result<Option<Response<Body>>, Error> {
        let Some(name) = Name::of(request.uri().path()) else {
            return Ok(None);
        };
        let codings = codings(request);
        let at_once = match self.patience {
            Patience::None => find(&self.settings, &name, &codings, Patience::None),
            Patience::Disk => Err(ErrorKind::WouldBlock.into()),
        };
        let (found, place) = match at_once {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.wait_for(name, codings, place).await?
            }
            found => (found, place),
        };
        match found {
            Ok(Found::File(hit)) => Ok(Some(answer::file(request, hit, place))),
            Ok(Found::Slash) => Ok(Some(answer::slash(request.uri()))),
            Ok(Found::Nothing) => Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Error::Forbidden),
            Err(error) => Err(Error::Unreadable(error)),
        }
    }

    /// Finds it on a thread that may wait for the disk.
    async fn wait_for(
        &self,
        name: Name,
        codings: Vec<ContentCoding>,
        place: Permit,
    ) -> Result<(io::Result<Found>, Permit), Error> {
        let settings = Arc::clone(&self.settings);
        // The place goes along: who waits for a dead disk keeps it.
        let found = tokio::task::spawn_blocking(move || {
            (find(&settings, &name, &codings, Patience::Disk), place)
        });
        let found = tokio::time::timeout(PATIENCE, found).await;
        let found = found.map_err(|_| Error::Slow)?;
        found.map_err(|error| Error::Unreadable(io::Error::other(error)))
    }
}

/// What the client accepts, the best first: its weights, then the smallest.
fn codings<B>(request: &Request<B>) -> Vec<ContentCoding> {
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
fn enter(path: &Path, key: &'static str) -> Result<bool, Unusable> {
    let directory = tree::directory(path, Patience::Disk);
    let entered = directory.and_then(|directory| {
        let may = Access::EXEC_OK;
        accessat(&directory, ".", may, AtFlags::EACCESS)?;
        tree::is_local(&directory)
    });
    entered.map_err(|cause| Unusable {
        path: path.to_owned(),
        key,
        wanted: "directory",
        cause: cause.into(),
    })
}

/// How long the disk may take to find a file.
const PATIENCE: Duration = Duration::from_secs(10);
