//! Which file answers a request.

use std::io::{self, ErrorKind};

use super::media_type;
use super::root_dir::{DiskWait, Entry, File, RootDir};
use super::{SafePath, Settings};
use crate::core::content_coding::{self, ContentCoding};

/// What there is for a name.
#[derive(Debug)]
pub(super) enum LookupResult {
    File(FoundFile),
    /// A directory that has a page, asked for without its slash.
    Directory,
    NotFound,
}

/// The file to send.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) file: File,
    /// Of the file itself, even if it is sent compressed.
    pub(super) path: String,
    pub(super) media_type: String,
    /// How it is compressed.
    pub(super) coding: Option<ContentCoding>,
}

/// Looks for `name`. Of files that are there compressed as well, one is taken that
/// the client accepts: `codings`, the best first.
///
/// # Errors
/// Something is there and cannot be read, or would have to be waited for.
pub(super) fn find_file(
    settings: &Settings,
    name: &SafePath,
    codings: &[ContentCoding],
    patience: DiskWait,
) -> io::Result<LookupResult> {
    let tree = RootDir::open(settings, patience)?;
    let path = if name.is_directory() {
        index_path(name.path())
    } else {
        name.path().to_owned()
    };
    match tree.entry(&path)? {
        Some(Entry::File(file)) => {
            return choose_encoding(&tree, file, path, codings).map(LookupResult::File);
        }
        Some(Entry::Directory) if !name.is_directory() => {
            if let Some(Entry::File(_)) = tree.entry(&index_path(&path))? {
                return Ok(LookupResult::Directory);
            }
        }
        Some(Entry::Directory) | None => {}
    }
    let fallback = settings.fallback.as_ref();
    let Some(fallback) = fallback.filter(|_| !media_type::is_asset(name)) else {
        return Ok(LookupResult::NotFound);
    };
    match tree.entry(fallback.path())? {
        Some(Entry::File(file)) => {
            choose_encoding(&tree, file, fallback.path().to_owned(), codings)
                .map(LookupResult::File)
        }
        Some(Entry::Directory) | None => Ok(LookupResult::NotFound),
    }
}

/// The page of a directory.
fn index_path(directory: &str) -> String {
    if directory.is_empty() {
        INDEX_FILE.to_owned()
    } else {
        format!("{directory}/{INDEX_FILE}")
    }
}

/// `file`, or what was compressed of it, if it is not older: then somebody forgot it.
fn choose_encoding(
    tree: &RootDir<'_>,
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
        match tree.entry(&format!("{path}.{}", extension(*coding))) {
            Ok(Some(Entry::File(packed))) if packed.modified >= file.modified => {
                return Ok(FoundFile {
                    file: packed,
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
