//! The path of the control socket, which is found even in a file with mistakes.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, Error};
use crate::control;

/// The control socket that a configuration file names.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    /// The path of `broadcast.socket`, or of its default, resolved against the directory of
    /// the file.
    pub(crate) path: PathBuf,
    /// The error that [`Config::load`] reports for the file.
    pub(crate) problem: Option<Error>,
    /// Whether `path` is the default because no socket is found in a file with a problem.
    pub(crate) is_assumed: bool,
}

impl ControlSocket {
    /// Reads `broadcast.socket` from the file at `path`.
    ///
    /// Mistakes in the file are skipped: the running edge still has its previous
    /// configuration, and commands must reach it while the file is being edited.
    ///
    /// # Errors
    /// [`Error::Read`] if the file cannot be read.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let problem = match Config::load(path) {
            Ok(config) => {
                return Ok(Self {
                    path: config.broadcast.socket,
                    problem: None,
                    is_assumed: false,
                });
            }
            Err(problem) => problem,
        };
        let bytes = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let found = find_socket(&String::from_utf8_lossy(&bytes));
        let is_assumed = found.is_none();
        let socket = found.unwrap_or_else(|| control::Settings::default().socket);
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        Ok(Self {
            path: directory.join(socket),
            problem: Some(problem),
            is_assumed,
        })
    }
}

/// Returns the value of `broadcast.socket`, or `None` if the key is missing, is not a string,
/// or lies where the parser cannot recover from a syntax error.
fn find_socket(text: &str) -> Option<PathBuf> {
    let (table, _) = DeTable::parse_recoverable(text);
    let DeValue::Table(section) = table.get_ref().get("broadcast")?.get_ref() else {
        return None;
    };
    let socket = section.get("socket")?.get_ref().as_str()?;
    Some(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the socket, and whether the file has a problem.
    fn load(text: &[u8]) -> (PathBuf, bool) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let found = ControlSocket::load(&file).unwrap();
        let path = found.path.strip_prefix(directory.path());
        let path = path.unwrap_or(&found.path).to_owned();
        let default = control::Settings::default().socket;
        assert_eq!(found.is_assumed, path == default);
        (path, found.problem.is_some())
    }

    #[test]
    fn socket_of_a_valid_file_is_relative_to_its_directory() {
        assert_eq!(load(b"[broadcast]\nsocket = \"b\"\n"), ("b".into(), false));
    }

    #[test]
    fn mistake_anywhere_in_the_file_hides_no_socket() {
        for (before, after) in [
            ("nonsense = 1\n", ""),
            ("[http]\nmax_body = = 1\n", ""),
            ("[http\nmax_body = 1\n", ""),
            ("", "max_events = \"many\"\n"),
            ("", "[http]\nmax_body = \"1 MiB\n"),
        ] {
            let text = format!("{before}[broadcast]\nsocket = \"b.sock\"\n{after}");
            let (path, has_problem) = load(text.as_bytes());
            assert_eq!(path, Path::new("b.sock"), "{text}");
            assert!(has_problem, "{text}");
        }
        let latin1 = b"# f\xfcr uns\n[broadcast]\nsocket = \"b.sock\"\n";
        assert_eq!(load(latin1), ("b.sock".into(), true));
    }

    #[test]
    fn file_without_a_socket_means_the_default() {
        let default = control::Settings::default().socket;
        for text in [
            "nonsense = 1\n",
            "[broadcast]\nsocket = 7\n",
            "broadcast = 7\n",
        ] {
            assert_eq!(load(text.as_bytes()), (default.clone(), true), "{text}");
        }
        let utf16: Vec<u8> = "[broadcast]"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(load(&utf16).0, default);
    }

    #[test]
    fn missing_file_is_an_error() {
        let missing = ControlSocket::load(Path::new("/none/config.toml"));
        assert!(matches!(missing, Err(Error::Read { .. })));
    }
}
