//! The state directory of the ACME client: it keeps the account, and the certificate with its
//! key, across restarts. Only the edge's user may read it.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Error;
use crate::runtime::state_directory;

/// The directory with the account, the key and the certificate (`tls.acme.storage`).
#[derive(Clone, Debug)]
pub(super) struct State {
    directory: PathBuf,
}

impl State {
    /// Creates the directory with mode 0700, and checks that it is writable, so that an error
    /// shows at start and not after a certificate was issued. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::State`] if it is not.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let create = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
            std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
            NamedTempFile::new_in(directory)?.close()
        };
        create().map_err(at(directory))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Checks that [`State::open`] can create `directory` or write to it. Changes nothing.
    /// Blocks.
    ///
    /// # Errors
    /// Returns [`Error::State`] if it cannot.
    pub(super) fn check(directory: &Path) -> Result<(), Error> {
        state_directory::check(directory).map_err(at(directory))
    }

    /// Reads the file `name`; `None` if there is none. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::State`] if it cannot be read.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.directory.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Removes the file `name`. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::State`] if it cannot be removed.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        std::fs::remove_file(&path).map_err(at(&path))
    }

    /// Writes `text` to a temporary file with mode 0600, which [`Draft::persist`] moves to its
    /// place. Blocks until the text is on disk.
    ///
    /// # Errors
    /// Returns [`Error::State`] if the file cannot be written.
    pub(super) fn draft(&self, text: &str) -> Result<Draft, Error> {
        let write = || {
            let mut file = NamedTempFile::new_in(&self.directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        Ok(Draft {
            file: write().map_err(at(&self.directory))?,
            directory: self.directory.clone(),
        })
    }
}

/// Returns a function that turns a system's error into one about `path`.
fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::State { path, source }
}

/// A file that is written but not in its place yet; removed on drop.
#[derive(Debug)]
pub(super) struct Draft {
    file: NamedTempFile,
    directory: PathBuf,
}

impl Draft {
    /// Returns the path of the temporary file.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Replaces the file `name` atomically. Blocks until the change is on disk.
    ///
    /// # Errors
    /// Returns [`Error::State`] if it cannot be replaced; the old file stays then.
    pub(super) fn persist(self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        self.file
            .persist(&path)
            .map_err(|failed| at(&path)(failed.error))?;
        // Without a sync of the directory a crash of the machine could undo the rename.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(at(&self.directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_files_are_readable_by_their_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let state = State::open(&directory).unwrap();
        assert_eq!(state.read("x").unwrap(), None);
        state.draft("secret").unwrap().persist("x").unwrap();
        assert_eq!(state.read("x").unwrap().unwrap(), "secret");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("x")), 0o600);
    }
}
