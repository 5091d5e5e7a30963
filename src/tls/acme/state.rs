//! What outlives the process: the account and the certificate with its key, in a
//! directory that is for nobody else.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Error;

/// The state directory.
#[derive(Clone, Debug)]
pub(super) struct State {
    directory: PathBuf,
}

impl State {
    /// Makes the directory, and sees that it can be written to: better at start
    /// than when a certificate was just issued.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let made = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
            std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
            NamedTempFile::new_in(directory)?.close()
        };
        made().map_err(at(directory))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// What was written as `name`; none if nothing was.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.directory.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        std::fs::remove_file(&path).map_err(at(&path))
    }

    /// Puts `text` aside, with mode 0600, until it is [kept](Draft::keep).
    pub(super) fn draft(&self, text: &str) -> Result<Draft, Error> {
        let written = || {
            let mut file = NamedTempFile::new_in(&self.directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        Ok(Draft {
            file: written().map_err(at(&self.directory))?,
            directory: self.directory.clone(),
        })
    }
}

/// The error that one at `path` is.
fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::State { path, source }
}

/// A file that nobody looks at yet.
#[derive(Debug)]
pub(super) struct Draft {
    file: NamedTempFile,
    directory: PathBuf,
}

impl Draft {
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Replaces what was there as `name`, whole or not at all.
    pub(super) fn keep(self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        let kept = self.file.persist(&path);
        kept.map_err(|failed| at(&path)(failed.error))?;
        // Without it a crash of the machine could bring the old one back.
        let directory = File::open(&self.directory).and_then(|directory| directory.sync_all());
        directory.map_err(at(&self.directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        let state = State::open(&directory).unwrap();
        assert_eq!(state.read("x").unwrap(), None);
        state.draft("secret").unwrap().keep("x").unwrap();
        assert_eq!(state.read("x").unwrap().unwrap(), "secret");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("x")), 0o600);
    }
}
