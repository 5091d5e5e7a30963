//! File lookup: finds the file of a request, the index page of a directory, the fallback,
//! or a precompressed variant.

use std::io::{self, ErrorKind};

use super::media_type;
use super::root_dir::{DiskWait, Entry, File, RootDir};
use super::{SafePath, Settings};
use crate::core::content_coding::{self, ContentCoding};

/// The result of a lookup.
#[derive(Debug)]
pub(super) enum LookupResult {
    File(FoundFile),
    /// The path lacks the trailing slash of a directory that has an index page.
    Directory,
    NotFound,
}

/// The file to send.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) file: File,
    /// The path of the uncompressed file, even if a compressed variant is sent.
    pub(super) path: String,
    /// The media type of the uncompressed file.
    pub(super) media_type: String,
    /// The coding of the variant; `None` if the file itself is sent.
    pub(super) coding: Option<ContentCoding>,
}

/// Looks up `request_path` below the root. If the file has a precompressed variant in one
/// of `codings`, the first of them is chosen.
///
/// # Errors
/// Returns an error if something exists at the path and cannot be read, and
/// [`io::ErrorKind::WouldBlock`] if the disk must be waited for and must not.
pub(super) fn find_file(
    settings: &Settings,
    request_path: &SafePath,
    codings: &[ContentCoding],
    disk_wait: DiskWait,
) -> io::Result<LookupResult> {
    let root = RootDir::open(settings, disk_wait)?;
    let path = if request_path.is_directory() {
        index_path(request_path.path())
    } else {
        request_path.path().to_owned()
    };
    match root.entry(&path)? {
        Some(Entry::File(file)) => {
            return choose_encoding(&root, file, path, codings).map(LookupResult::File);
        }
        Some(Entry::Directory) if !request_path.is_directory() => {
            if let Some(Entry::File(_)) = root.entry(&index_path(&path))? {
                return Ok(LookupResult::Directory);
            }
        }
        Some(Entry::Directory) | None => {}
    }
    let fallback = match &settings.fallback {
        Some(fallback) if !media_type::is_asset(request_path) => fallback.path(),
        _ => return Ok(LookupResult::NotFound),
    };
    match root.entry(fallback)? {
        Some(Entry::File(file)) => {
            choose_encoding(&root, file, fallback.to_owned(), codings).map(LookupResult::File)
        }
        Some(Entry::Directory) | None => Ok(LookupResult::NotFound),
    }
}

/// Returns the path of a directory's index page.
fn index_path(directory: &str) -> String {
    if directory.is_empty() {
        INDEX_FILE.to_owned()
    } else {
        format!("{directory}/{INDEX_FILE}")
    }
}

/// Returns `file` or its variant in the first coding that has one. A variant that is older
/// than the file is stale and ignored.
fn choose_encoding(
    root: &RootDir<'_>,
    file: File,
    path: String,
    codings: &[ContentCoding],
) -> io::Result<FoundFile> {
    let media_type = media_type::media_type(&path);
    let codings = if content_coding::is_compressible(&media_type) {
        codings
    } else {
        &[]
    };
    for coding in codings {
        match root.entry(&format!("{path}.{}", extension(*coding))) {
            Ok(Some(Entry::File(variant))) if variant.modified >= file.modified => {
                return Ok(FoundFile {
                    file: variant,
                    path,
                    media_type,
                    coding: Some(*coding),
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    Ok(FoundFile {
        file,
        path,
        media_type,
        coding: None,
    })
}

const fn extension(coding: ContentCoding) -> &'static str {
    match coding {
        ContentCoding::Zstd => "zst",
        ContentCoding::Brotli => "br",
        ContentCoding::Gzip => "gz",
    }
}

const INDEX_FILE: &str = "index.html";
