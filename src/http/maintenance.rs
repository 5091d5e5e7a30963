//! A site that is closed for a while: as long as a file exists, it is all that
//! anybody is shown. Who only asks whether it exists asks no disk: that is looked at
//! every second.

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

/// `[maintenance]` of `config.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The page whose existence closes the site; none for never.
    pub page: Option<PathBuf>,
}

/// Whether the site is closed, as of a second ago.
#[derive(Debug, Default)]
pub struct Maintenance {
    page: Option<PathBuf>,
    closed: ArcSwapOption<ClosedPage>,
    /// It has been said that nobody can tell.
    is_out_of_reach: AtomicBool,
}

/// Nobody could close the site: whether the page exists cannot be told.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot look for {} (maintenance.page in config.toml); the user of pwd-edge must \
     be able to enter its directory",
    .page.display()
)]
pub struct PageUnreachable {
    page: PathBuf,
    source: io::Error,
}

#[derive(Debug)]
struct ClosedPage {
    /// Which state of the file was read.
    version: FileVersion,
    /// None if it cannot be used: then there is the edge's own.
    page: Option<Bytes>,
}

/// Size, inode, and when it was written to, to the nanosecond.
type FileVersion = (u64, u64, i64, i64);

impl Maintenance {
    /// Looks for the page for the first time.
    ///
    /// # Errors
    /// It cannot be told whether it exists.
    pub fn new(settings: &Settings) -> Result<Self, PageUnreachable> {
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

    /// Whether the site is closed.
    pub(super) fn is_on(&self) -> bool {
        self.page.is_some() && self.closed.load().is_some()
    }

    /// The page in place of the edge's own.
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

    /// Looks whether the page is there, and reads it if it is another.
    pub(super) fn refresh(&self) {
        let Some(path) = &self.page else { return };
        let was = self.closed.load_full();
        let found = fs::metadata(path);
        let told = found.as_ref().map_or_else(is_not_found, |_| true);
        let was_told = !self.is_out_of_reach.swap(!told, Relaxed);
        let version = match found {
            Ok(found) => version(&found),
            Err(error) if is_not_found(&error) => {
                if was.is_some() {
                    tracing::info!(name: "maintenance_ended", "maintenance ended");
                }
                return self.closed.store(None);
            }
            // It cannot be told: nothing changes.
            Err(error) => {
                if was_told {
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
        if was.as_ref().is_some_and(|was| was.version == version) {
            return;
        }
        if was.is_none() {
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

fn version(found: &Metadata) -> FileVersion {
    (found.size(), found.ino(), found.mtime(), found.mtime_nsec())
}

fn read(path: &Path) -> io::Result<Bytes> {
    // A pipe would be waited for.
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
    fn a_page_out_of_reach_is_told_at_once() {
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
