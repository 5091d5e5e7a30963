//! Which file answers a request.

use std::io::{self, ErrorKind};

use super::kind;
use super::tree::{Entry, File, Patience, Tree};
use super::{Name, Settings};
use crate::content_coding::{self, ContentCoding};

/// What there is for a name.
#[derive(Debug)]
pub(super) enum Found {
    File(Hit),
    /// A directory that has a page, asked for without its slash.
    Slash,
    Nothing,
}

/// The file to send.
#[derive(Debug)]
pub(super) struct Hit {
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
pub(super) fn find(
    settings: &Settings,
    name: &Name,
    codings: &[ContentCoding],
    patience: Patience,
) -> io::Result<Found> {
    let tree = Tree::open(settings, patience)?;
    let path = match name.is_directory() {
        true => index(name.path()),
        false => name.path().to_owned(),
    };
    match tree.entry(&path)? {
        Some(Entry::File(file)) => {
            return hit(&tree, file, path, codings).map(Found::File);
        }
        Some(Entry::Directory) if !name.is_directory() => {
            if let Some(Entry::File(_)) = tree.entry(&index(&path))? {
                return Ok(Found::Slash);
            }
        }
        Some(Entry::Directory) | None => {}
    }
    let fallback = settings.fallback.as_ref();
    let Some(fallback) = fallback.filter(|_| !kind::is_asset(name)) else {
        return Ok(Found::Nothing);
    };
    match tree.entry(fallback.path())? {
        Some(Entry::File(file)) => {
            hit(&tree, file, fallback.path().to_owned(), codings).map(Found::File)
        }
        Some(Entry::Directory) | None => Ok(Found::Nothing),
    }
}

/// The page of a directory.
fn index(directory: &str) -> String {
    match directory.is_empty() {
        true => INDEX.to_owned(),
        false => format!("{directory}/{INDEX}"),
    }
}

/// `file`, or what was compressed of it, if it is not older: then somebody forgot it.
fn hit(tree: &Tree<'_>, file: File, path: String, codings: &[ContentCoding]) -> io::Result<Hit> {
    let media_type = kind::media_type(&path);
    let codings = if content_coding::is_compressible(&media_type) {
        codings
    } else {
        &[]
    };
    for coding in codings {
        match tree.entry(&format!("{path}.{}", extension(*coding))) {
            Ok(Some(Entry::File(packed))) if packed.modified >= file.modified => {
                return Ok(Hit {
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
    Ok(Hit {
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

const INDEX: &str = "index.html";
