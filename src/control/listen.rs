//! The broadcast socket's listener. It replaces a stale socket file, but never the socket of
//! a running process.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::Settings;

/// The reason why the socket cannot be opened. Its text names the cure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The socket's directory does not exist.
    #[error(
        "the directory of {} (broadcast.socket) does not exist; make it \
         (pwd-edge.service does: RuntimeDirectory=pwd-edge) or correct the path", .0.display()
    )]
    NoDirectory(PathBuf),
    /// Another process listens on this path.
    #[error(
        "another process already serves {} (broadcast.socket); stop it or \
         choose another path", .0.display()
    )]
    InUse(PathBuf),
    /// The path is a file that is not a socket. The edge never removes such a file.
    #[error(
        "{} (broadcast.socket) is not a socket, and the edge does not replace it; choose \
         another path or remove it", .0.display()
    )]
    NotASocket(PathBuf),
    /// A system call failed.
    #[error("cannot open {} (broadcast.socket)", .path.display())]
    System {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The control socket: a listener, and the file that the edge has made for it.
///
/// Dropping it removes that file and closes the listener. A socket that was passed to the
/// process belongs to systemd, and its file stays.
#[derive(Debug)]
pub(crate) struct ControlListener<L = UnixListener> {
    /// Dropped before `listener`: while the edge listens, no other process takes the path.
    file: Option<SocketFile>,
    listener: L,
}

impl ControlListener {
    /// Registers the socket with the runtime.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    ///
    /// # Errors
    /// Returns the system's error if the socket cannot be registered.
    pub(crate) fn into_tokio(self) -> io::Result<ControlListener<tokio::net::UnixListener>> {
        Ok(ControlListener {
            file: self.file,
            listener: tokio::net::UnixListener::from_std(self.listener)?,
        })
    }
}

impl ControlListener<tokio::net::UnixListener> {
    /// Accepts a connection. It is cancel safe.
    pub(super) async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// The file of a socket that the edge has opened. Dropping it removes the file, unless another
/// one has its path by now.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: file_id(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // The next start replaces a file that cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns the device and the inode of the file at `path`, which may be a symbolic link.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Opens the socket of `settings` with its file mode, or takes the listener that was `passed`
/// to the process, whose mode stays as it is. Logs a warning if all local users can open or
/// replace the socket.
///
/// # Errors
/// Returns [`ListenError::NoDirectory`] if the socket's directory does not exist,
/// [`ListenError::InUse`] if another process listens on the path,
/// [`ListenError::NotASocket`] if the path is another kind of file, and
/// [`ListenError::System`] if a system call fails. A `passed` listener never fails.
pub(crate) fn listen(
    settings: &Settings,
    passed: Option<UnixListener>,
) -> Result<ControlListener, ListenError> {
    let listener = match passed {
        Some(listener) => ControlListener {
            file: None,
            listener,
        },
        None => bind_owned(settings)?,
    };
    warn_if_public(settings);
    Ok(listener)
}

fn bind_owned(settings: &Settings) -> Result<ControlListener, ListenError> {
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

fn open(path: &Path, mode: u32) -> io::Result<ControlListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(ControlListener {
        file: Some(file),
        listener: socket.into(),
    })
}

/// Logs a warning if the file permissions are too wide. A local user with access to the socket
/// can publish in Laravel's name; one with write access to its directory can replace it.
fn warn_if_public(settings: &Settings) {
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

/// The permission bits of users outside the file's group.
const OTHERS_MASK: u32 = 0o007;
const WRITABLE_BY_OTHERS: u32 = 0o002;
/// The sticky bit: in such a directory only a file's owner can replace it.
const STICKY: u32 = 0o1000;

/// Removes the socket file of a process that no longer runs.
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
        // A live process owns the socket; `WouldBlock` is a live process whose backlog is full.
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::InUse(path.to_owned()))
        }
        Err(error) => Err(system(error)),
    }
}

/// Connections that may wait for `accept`: enough for a burst of PHP workers. With 64, the
/// kernel refused 334 of 2 000 simultaneous connections in a measurement.
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
        // A process that was killed leaves its file.
        std::mem::forget(live.file);
        drop(live.listener);
        assert!(settings.socket.exists());
        assert!(listen(&settings, None).is_ok());
    }

    #[test]
    fn dropped_socket_removes_its_own_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&dir);
        drop(listen(&settings, None).unwrap());
        assert!(!settings.socket.exists());
        let ours = listen(&settings, None).unwrap();
        std::fs::rename(&settings.socket, dir.path().join("old")).unwrap();
        let theirs = UnixListener::bind(&settings.socket).unwrap();
        drop(ours);
        assert!(settings.socket.exists());
        drop(listen(&settings, Some(theirs)).unwrap());
        assert!(settings.socket.exists());
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
