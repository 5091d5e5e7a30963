//! Directories of the edge's own state, which it creates at its start.

use std::io;
use std::path::Path;

use rustix::fs::Access;

/// Checks that this process can create `directory`, or write to it. Changes nothing. Blocks.
///
/// # Errors
/// Returns the error that a start would meet.
pub(crate) fn check(directory: &Path) -> io::Result<()> {
    // A link that leads nowhere exists, too: nothing can be created in its place.
    let exists = |path: &&Path| path.symlink_metadata().is_ok();
    let existing = directory.ancestors().find(exists);
    let existing = existing.unwrap_or_else(|| Path::new("."));
    if existing.is_dir() {
        Ok(rustix::fs::access(
            existing,
            Access::WRITE_OK | Access::EXEC_OK,
        )?)
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}
