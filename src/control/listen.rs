//! Opening the socket: a stale file is replaced, a live one is not stolen.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::Settings;

/// Why the socket cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The directory is not there.
    #[error(
        "the directory of {} (broadcast.socket) does not exist; make it \
         (pwd-edge.service does: RuntimeDirectory=pwd-edge) or correct the path", .0.display()
    )]
    NoDirectory(PathBuf),
    /// Another process listens there.
    #[error(
        "another process already serves {} (broadcast.socket); stop it or \
         choose another path", .0.display()
    )]
    InUse(PathBuf),
    /// Something that is no socket has that name.
    #[error(
        "{} (broadcast.socket) is not a socket, and the edge does not replace it; choose \
         another path or remove it", .0.display()
    )]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot open {} (broadcast.socket)", .path.display())]
    System {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens the socket of `settings`, with its mode and a backlog that a burst of
/// PHP workers does not overflow. If it was `passed`, its mode is a matter of
/// those who opened it.
///
/// # Errors
/// See [`ListenError`].
pub fn listen(
    settings: &Settings,
    passed: Option<UnixListener>,
) -> Result<UnixListener, ListenError> {
    let listener = match passed {
        Some(listener) => listener,
        None => bind_owned(settings)?,
    };
    warn_of_strangers(settings);
    Ok(listener)
}

fn bind_owned(settings: &Settings) -> Result<UnixListener, ListenError> {
    let path = &settings.socket;
    if !path
        .parent()
        .is_some_and(|dir| dir.as_os_str().is_empty() || dir.is_dir())
    {
        return Err(ListenError::NoDirectory(path.clone()));
    }
    clear_stale(path)?;
    open(path, settings.socket_mode.bits()).map_err(|source| ListenError::System {
        path: path.clone(),
        source,
    })
}

fn open(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whoever can open the socket can speak for Laravel; whoever can write to its
/// directory can put another in its place.
fn warn_of_strangers(settings: &Settings) {
    let path = settings.socket.display();
    let mode_of = |path: &Path| {
        path.metadata()
            .map_or(0, |found| found.permissions().mode())
    };
    if mode_of(&settings.socket) & OTHERS_MASK != 0 && settings.allowed_uids.is_empty() {
        tracing::warn!(
            name: "broadcast_socket_public",
            socket = %path, hint = "set broadcast.socket_mode to 0660",
            "broadcast socket open to everyone"
        );
    }
    let mode = settings.socket.parent().map_or(0, mode_of);
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        tracing::warn!(
            name: "broadcast_directory_public",
            socket = %path, hint = "make its directory writable for the edge's user alone",
            "broadcast directory writable by everyone"
        );
    }
}

const OTHERS_MASK: u32 = 0o007;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

fn clear_stale(path: &Path) -> Result<(), ListenError> {
    let system = |source| ListenError::System {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(system)
        }
        // A backlog that is full is somebody's backlog too.
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::InUse(path.to_owned()))
        }
        Err(error) => Err(system(error)),
    }
}

/// With 64, 334 of 2 000 connects at once were refused in a measurement.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &tempfile::TempDir) -> Settings {
        Settings {
            socket: dir.path().join("b.sock"),
            ..Settings::default()
        }
    }

    #[test]
    fn stale_socket_is_replaced_and_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&dir);
        let live = listen(&settings, None).unwrap();
        let mode = std::fs::metadata(&settings.socket)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(matches!(
            listen(&settings, None),
            Err(ListenError::InUse(_))
        ));
        drop(live);
        assert!(listen(&settings, None).is_ok());
    }

    #[test]
    fn file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&dir);
        std::fs::write(&settings.socket, "precious").unwrap();
        assert!(matches!(
            listen(&settings, None),
            Err(ListenError::NotASocket(_))
        ));
        assert_eq!(std::fs::read(&settings.socket).unwrap(), b"precious");
    }

    #[test]
    fn missing_directory_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&dir);
        settings.socket = dir.path().join("none/b.sock");
        assert!(matches!(
            listen(&settings, None),
            Err(ListenError::NoDirectory(_))
        ));
    }
}
