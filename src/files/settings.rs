//! `files` of `[[routes]]`.

use std::path::PathBuf;

use super::SafePath;

/// A directory whose files are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory. Paths are looked up below it whole.
    pub root: PathBuf,
    /// The file that stands in where there is none: a page that finds its way by
    /// itself.
    pub fallback: Option<SafePath>,
    /// Directories elsewhere that symbolic allowed_symlink_targets in `root` may lead to.
    pub allowed_symlink_targets: Vec<PathBuf>,
}

impl Settings {
    /// All paths of the file system in it, to be made absolute.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.root]
            .into_iter()
            .chain(&mut self.allowed_symlink_targets)
    }
}
