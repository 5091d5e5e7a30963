//! The settings of a route with `files` in `[[routes]]`.

use std::path::PathBuf;

use super::SafePath;

/// A directory whose files are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The directory. The whole path of a request is looked up below it.
    pub(crate) root: PathBuf,
    /// The file for paths without a file: the page of a single-page application, which
    /// routes the path itself.
    pub(crate) fallback: Option<SafePath>,
    /// Directories outside `root` that symbolic links in it may lead to.
    pub(crate) allowed_symlink_targets: Vec<PathBuf>,
}

impl Settings {
    /// Returns all file system paths of the settings, so that they can be made absolute.
    pub(crate) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.root]
            .into_iter()
            .chain(&mut self.allowed_symlink_targets)
    }
}
