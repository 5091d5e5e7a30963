//! The stage of maintenance mode: as long as the file of `maintenance.page` exists, requests get a 503
//! response with that page, or with JSON if they prefer it. WebSocket upgrades are not
//! affected. A task checks the file every second, so no request waits for the disk.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use rustix::fs::OFlags;
use serde::Deserialize;

use crate::core::body::{self, Body};
use crate::core::error_chain::error_chain;
use crate::http::Rejection;

/// The settings of `[maintenance]` in `config.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The page whose existence switches maintenance mode on; `None` for never.
    pub(crate) page: Option<PathBuf>,
}

/// The maintenance state, as of the last check of the page.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    page: Option<PathBuf>,
    /// The page that requests get; `None` while maintenance mode is off.
    closed: ArcSwapOption<ClosedPage>,
    /// Whether the last check failed; a failure is logged once, until a check succeeds.
    is_out_of_reach: AtomicBool,
}

/// The error of a page whose existence cannot be checked, so that maintenance mode would
/// not work.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot look for {} (maintenance.page); the user of pwd-edge must \
     be able to enter its directory",
    .page.display()
)]
pub struct PageUnreachable {
    page: PathBuf,
    source: io::Error,
}

#[derive(Debug)]
struct ClosedPage {
    /// The version of the file that was read.
    version: FileVersion,
    /// The content; `None` if it is unusable and the built-in page takes its place.
    page: Option<Bytes>,
}

/// Size, inode, and time of last modification in seconds and nanoseconds.
type FileVersion = (u64, u64, i64, i64);

impl Maintenance {
    /// Creates the state and checks the page for the first time. Blocks on the disk.
    ///
    /// # Errors
    /// Returns [`PageUnreachable`] if the check fails, for example because the user of
    /// pwd-edge must not enter the directory.
    pub(crate) fn new(settings: &Settings) -> Result<Self, PageUnreachable> {
        if let Some(page) = &settings.page
            && let Err(source) = fs::metadata(page)
            && !is_not_found(&source)
        {
            let page = page.clone();
            return Err(PageUnreachable { page, source });
        }
        let maintenance = Self {
            page: settings.page.clone(),
            ..Self::default()
        };
        maintenance.refresh();
        Ok(maintenance)
    }

    /// Checks that maintenance mode is off.
    ///
    /// # Errors
    /// Returns [`Rejection::Maintenance`] while it is on.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        if self.is_on() {
            Err(Rejection::Maintenance)
        } else {
            Ok(())
        }
    }

    fn is_on(&self) -> bool {
        self.page.is_some() && self.closed.load().is_some()
    }

    /// Replaces the body of `response` by the page, if there is a usable one.
    pub(super) fn write(&self, response: Response<Body>) -> Response<Body> {
        let closed = self.closed.load();
        let Some(page) = closed.as_ref().and_then(|closed| closed.page.clone()) else {
            return response;
        };
        let mut response = response.map(|_| body::full(page));
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, html);
        response
    }

    /// Checks whether the page exists, and reads it if it has changed. Blocks on the disk, so
    /// it must run on a blocking thread.
    pub(crate) fn refresh(&self) {
        let Some(path) = &self.page else { return };
        let previous = self.closed.load_full();
        let metadata = fs::metadata(path);
        let is_known = metadata.as_ref().map_or_else(is_not_found, |_| true);
        let was_known = !self.is_out_of_reach.swap(!is_known, Relaxed);
        let version = match metadata {
            Ok(metadata) => version(&metadata),
            Err(error) if is_not_found(&error) => {
                if previous.is_some() {
                    tracing::info!(name: "maintenance_ended", "maintenance ended");
                }
                return self.closed.store(None);
            }
            // The state of the file is unknown, so the mode stays as it is.
            Err(error) => {
                if was_known {
                    let page = path.display();
                    tracing::warn!(
                        name: "maintenance_page_inaccessible",
                        error = error_chain(&error), %page,
                        "maintenance page inaccessible"
                    );
                }
                return;
            }
        };
        if previous
            .as_ref()
            .is_some_and(|previous| previous.version == version)
        {
            return;
        }
        if previous.is_none() {
            tracing::info!(
                name: "maintenance_started",
                page = %path.display(), "maintenance started"
            );
        }
        let page = read(path).map_err(|error| {
            let page = path.display();
            tracing::warn!(
                name: "maintenance_page_unusable",
                error = error_chain(&error), %page,
                "maintenance page unusable"
            );
        });
        let page = page.ok();
        self.closed
            .store(Some(Arc::new(ClosedPage { version, page })));
    }
}

fn is_not_found(error: &io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}

fn version(metadata: &Metadata) -> FileVersion {
    (
        metadata.size(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}

/// Reads the page; fails if it is not a regular file, is empty, or is too long.
fn read(path: &Path) -> io::Result<Bytes> {
    // Opening a FIFO would block without this flag.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut page = Vec::new();
    file.take(MAX_PAGE_BYTES + 1).read_to_end(&mut page)?;
    match page.len() as u64 {
        0 => Err(io::Error::other("it is empty")),
        long if long > MAX_PAGE_BYTES => Err(io::Error::other("it is longer than 1 MiB")),
        _ => Ok(page.into()),
    }
}

const MAX_PAGE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_maintenance_page_is_reported_at_load() {
        let dir = tempfile::tempdir().unwrap();
        // As a directory that may not be entered, but for root as well.
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let look = |page: &str| {
            let page = Some(dir.path().join(page));
            Maintenance::new(&Settings { page })
        };
        assert!(!look("later/page.html").unwrap().is_on());
        let error = look("loop/page.html").unwrap_err().to_string();
        assert!(error.contains("maintenance.page"), "{error}");
    }
}
