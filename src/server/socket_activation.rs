//! Socket activation (sd_listen_fds(3)): sockets that systemd has opened and keeps open while
//! the service restarts, so that clients can connect meanwhile.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::core::bind_conflict::is_conflict;

/// The inherited sockets that have not been taken yet.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<Socket>);

#[derive(Debug)]
enum Socket {
    Tcp(SocketAddr, TcpListener),
    Unix(PathBuf, UnixListener),
    /// A descriptor that is not a usable listening socket, and the reason.
    Unusable(String),
}

impl InheritedSockets {
    /// Takes the sockets that `LISTEN_FDS` counts, and removes the variable. To be called
    /// once, before the process has threads.
    pub(crate) fn take() -> Self {
        let mut sockets = ListenFd::from_env();
        let each = 0..sockets.len();
        Self(each.map(|at| Socket::take(&mut sockets, at)).collect())
    }

    /// Takes the TCP socket that is bound to exactly this address.
    pub(super) fn tcp(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let is_it = |socket: &Socket| matches!(socket, Socket::Tcp(at, _) if *at == wanted);
        match self.remove(is_it)? {
            Socket::Tcp(_, listener) => Some(listener),
            _ => None,
        }
    }

    /// Returns the address of the first TCP socket beside which `wanted` cannot be bound.
    pub(super) fn conflict(&self, wanted: SocketAddr) -> Option<SocketAddr> {
        let mut addresses = self.0.iter().filter_map(|socket| match socket {
            Socket::Tcp(at, _) => Some(*at),
            _ => None,
        });
        addresses.find(|at| is_conflict(*at, wanted))
    }

    /// Takes the Unix socket with this path.
    pub(super) fn unix(&mut self, wanted: &Path) -> Option<UnixListener> {
        let is_it =
            |socket: &Socket| matches!(socket, Socket::Unix(at, _) if same_file(at, wanted));
        match self.remove(is_it)? {
            Socket::Unix(_, listener) => Some(listener),
            _ => None,
        }
    }

    /// Logs the sockets that have not been taken: the edge does not accept from them, so
    /// clients would wait in vain.
    pub(super) fn warn_of_unused(&self) {
        for socket in &self.0 {
            tracing::warn!(
                name: "systemd_socket_unused",
                %socket, hint = "correct the socket unit or the configuration",
                "systemd socket not configured"
            );
        }
    }

    fn remove(&mut self, is_it: impl Fn(&Socket) -> bool) -> Option<Socket> {
        let at = self.0.iter().position(is_it)?;
        Some(self.0.swap_remove(at))
    }
}

impl Socket {
    fn take(sockets: &mut ListenFd, at: usize) -> Self {
        let taken = match sockets.take_tcp_listener(at) {
            Ok(Some(listener)) => Self::tcp(listener),
            _ => match sockets.take_unix_listener(at) {
                Ok(Some(listener)) => Self::unix(listener),
                Ok(None) => Ok(Self::Unusable(format!("no. {}", at + 1))),
                Err(error) => Err(error),
            },
        };
        taken.unwrap_or_else(|error| Self::Unusable(format!("no. {}: {error}", at + 1)))
    }

    fn tcp(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        check(SockRef::from(&listener))?;
        Ok(Self::Tcp(address, listener))
    }

    fn unix(listener: UnixListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        check(SockRef::from(&listener))?;
        match address.as_pathname() {
            Some(path) => Ok(Self::Unix(path.to_owned(), listener)),
            None => Ok(Self::Unusable("a Unix socket without a path".to_owned())),
        }
    }
}

/// Checks that the socket is a listener, and makes it non-blocking for the runtime.
///
/// # Errors
/// Returns `InvalidInput` for a connection, and the system's error otherwise.
fn check(socket: SockRef<'_>) -> io::Result<()> {
    if !socket.is_listener()? {
        let text = "a connection, not a listening socket; the socket unit needs Accept=no";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    socket.set_nonblocking(true)
}

/// Returns whether both paths name the same file; `/var/run` is often a link to `/run`.
fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, _) => address.fmt(f),
            Self::Unix(path, _) => path.display().fmt(f),
            Self::Unusable(reason) => f.write_str(reason),
        }
    }
}
