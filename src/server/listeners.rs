//! The listening sockets: opens those that the configuration names, or takes inherited ones.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{InheritedSockets, PortOwner};
use crate::config::Config;
use crate::control;
use crate::core::error_chain::error_chain;

/// The listening sockets, from which nothing is accepted yet.
#[derive(Debug)]
pub struct Listeners {
    https: Vec<TcpListener>,
    plain: Vec<TcpListener>,
    admin: Vec<TcpListener>,
    broadcast: UnixListener,
}

/// The reason why a socket cannot be opened, with a cure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// A TCP address cannot be bound.
    #[error("cannot listen on {address} ({key}); {}", advice(.source, .owner.as_ref()))]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The key that names it.
        key: &'static str,
        /// The system's error.
        source: io::Error,
        /// The process that occupies the port, if that is the cause and the process is visible.
        owner: Option<PortOwner>,
    },
    /// The broadcast socket cannot be opened.
    #[error(transparent)]
    Broadcast(#[from] control::ListenError),
}

impl ListenError {
    fn tcp(address: SocketAddr, key: &'static str, source: io::Error) -> Self {
        let is_taken = source.kind() == io::ErrorKind::AddrInUse;
        Self::Tcp {
            address,
            key,
            source,
            owner: is_taken.then(|| PortOwner::find(address)).flatten(),
        }
    }
}

/// The errors of all sockets that cannot be opened.
///
/// `Display` writes one line for each, with its causes. These errors have no common source.
#[derive(Debug)]
pub struct ListenErrors {
    /// The configuration file that names the sockets, if one was read.
    file: Option<PathBuf>,
    errors: Vec<ListenError>,
}

impl ListenErrors {
    /// Returns the errors without the keys of the addresses, for a configuration that has no
    /// file.
    pub(crate) fn without_keys(&self) -> String {
        self.to_string().replace(" (server.listen)", "")
    }

    /// Sets the configuration file, with which every line begins.
    pub(crate) fn in_file(self, file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..self
        }
    }
}

impl From<Vec<ListenError>> for ListenErrors {
    fn from(errors: Vec<ListenError>) -> Self {
        Self { file: None, errors }
    }
}

impl std::error::Error for ListenErrors {}

impl fmt::Display for ListenErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            if let Some(file) = &self.file {
                write!(f, "{}: ", file.display())?;
            }
            f.write_str(&error_chain(error))?;
        }
        Ok(())
    }
}

/// Returns the cure for a TCP address that cannot be bound.
fn advice(error: &io::Error, owner: Option<&PortOwner>) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => match owner {
            Some(owner) => {
                return format!(
                    "another program has this port, {owner}; stop it or choose another"
                );
            }
            None => {
                "another program has this port; stop it (`ss -ltnp` as root names it) or choose another"
            }
        },
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE, which the systemd unit gives"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            "this machine has no IPv6; write 0.0.0.0 instead of [::]"
        }
        _ => "choose another address",
    };
    advice.to_owned()
}

impl Listeners {
    /// Takes the sockets that `config` names from `inherited`, and opens the others.
    ///
    /// # Errors
    /// Returns the errors of all sockets that cannot be opened.
    pub fn open(config: &Config, mut inherited: InheritedSockets) -> Result<Self, ListenErrors> {
        let mut errors = Vec::new();
        let mut open = |addresses: &[SocketAddr], key| {
            let sockets = addresses
                .iter()
                .map(|address| match inherited.tcp(*address) {
                    Some(listener) => Ok(listener),
                    None => tcp(*address).map_err(|error| ListenError::tcp(*address, key, error)),
                });
            collect_open(sockets, &mut errors)
        };
        let https = open(&config.server.listen, "server.listen");
        let plain = open(&config.server.redirect_listen, "server.redirect_listen");
        let admin = open(&config.admin.listen, "admin.listen");
        let broadcast = inherited.unix(&config.broadcast.socket);
        inherited.warn_of_unused();
        match control::listen(&config.broadcast, broadcast) {
            Ok(broadcast) if errors.is_empty() => Ok(Self {
                https,
                plain,
                admin,
                broadcast,
            }),
            Ok(_) => Err(errors.into()),
            Err(error) => {
                errors.push(error.into());
                Err(errors.into())
            }
        }
    }

    /// Returns the TLS listeners for the runtime.
    ///
    /// # Errors
    /// Returns the system's error if a socket cannot be duplicated or registered.
    pub(super) fn https(&self) -> io::Result<Vec<tokio::net::TcpListener>> {
        clones(&self.https)
    }

    /// Returns the listeners that redirect plain HTTP; errors as in [`Self::https`].
    pub(super) fn plain(&self) -> io::Result<Vec<tokio::net::TcpListener>> {
        clones(&self.plain)
    }

    /// Returns the admin listeners; errors as in [`Self::https`].
    pub(super) fn admin(&self) -> io::Result<Vec<tokio::net::TcpListener>> {
        clones(&self.admin)
    }

    /// Returns the broadcast listener; errors as in [`Self::https`].
    pub(super) fn broadcast(&self) -> io::Result<tokio::net::UnixListener> {
        tokio::net::UnixListener::from_std(self.broadcast.try_clone()?)
    }
}

/// Returns the sockets that could be opened, and adds the errors of the others to `errors`.
fn collect_open(
    sockets: impl Iterator<Item = Result<TcpListener, ListenError>>,
    errors: &mut Vec<ListenError>,
) -> Vec<TcpListener> {
    sockets
        .filter_map(|socket| socket.map_err(|error| errors.push(error)).ok())
        .collect()
}

fn clones(listeners: &[TcpListener]) -> io::Result<Vec<tokio::net::TcpListener>> {
    listeners
        .iter()
        .map(TcpListener::try_clone)
        .map(|clone| tokio::net::TcpListener::from_std(clone?))
        .collect()
}

/// Opens a listening socket, with `SO_REUSEADDR`, so that a restart does not wait until old
/// connections time out. `[::]` accepts IPv4, too.
fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The length of the accept queue. Linux reduces it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_on_a_machine_without_ipv6_is_reported_with_its_cure() {
        let address = "[::]:443".parse().unwrap();
        let source = Errno::AFNOSUPPORT.into();
        let error = ListenError::tcp(address, "server.listen", source).to_string();
        assert_eq!(
            error,
            "cannot listen on [::]:443 (server.listen); this machine has no IPv6; write 0.0.0.0 \
             instead of [::]"
        );
    }
}
