//! The script that php-fpm runs, and where it is at the time of a request.

use std::path::{Path, PathBuf};

/// The only script that the edge runs: the app's `index.php`, which routes all paths. The
/// edge never runs another file.
#[derive(Debug)]
pub(in crate::upstream) struct Script {
    root: PathBuf,
}

/// The paths of the script and its directory for one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ScriptPaths {
    pub(super) root: Vec<u8>,
    pub(super) file: Vec<u8>,
}

impl Script {
    /// Returns the script of the app whose `public` directory php-fpm sees at `root`.
    pub(in crate::upstream) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Returns the paths with all symbolic links resolved, as nginx' `$realpath_root` has
    /// them. A deployment moves such a link. PHP caches what a link points to for minutes,
    /// and compiled files by their path, so the path itself must change with the release.
    ///
    /// It is done for each request, so that a new release counts at once. If the edge does
    /// not see the directory, php-fpm runs elsewhere and gets the path as configured.
    ///
    /// Cancel-safe; a thread that waits for the disk continues.
    pub(super) async fn resolve(&self) -> ScriptPaths {
        let root = self.root.clone();
        let resolved = tokio::task::spawn_blocking(move || root.canonicalize()).await;
        match resolved {
            Ok(Ok(root)) => ScriptPaths::below(&root),
            _ => ScriptPaths::below(&self.root),
        }
    }
}

impl ScriptPaths {
    /// Returns the paths of the script in `root`.
    pub(super) fn below(root: &Path) -> Self {
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_owned();
        Self {
            root: bytes(root),
            file: bytes(&root.join("index.php")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn moved_link_is_resolved_anew_for_each_request() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let script = Script::new(&base.join("current/public"));
        for release in ["1", "2"] {
            let public = base.join(release).join("public");
            std::fs::create_dir_all(&public).unwrap();
            symlink(release, base.join("new")).unwrap();
            std::fs::rename(base.join("new"), base.join("current")).unwrap();
            assert_eq!(script.resolve().await, ScriptPaths::below(&public));
        }
    }

    #[tokio::test]
    async fn directory_that_only_php_sees_is_passed_as_configured() {
        let root = Path::new("/nowhere/current/public");
        let paths = Script::new(root).resolve().await;
        assert_eq!(paths, ScriptPaths::below(root));
    }
}
