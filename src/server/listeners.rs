//! The listening sockets: opens those that the configuration names, or takes inherited ones.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{InheritedSockets, PortOwner};
use crate::config::Config;
use crate::control::{self, ControlListener};
use crate::core::error_chain::error_chain;

/// The listening sockets, from which nothing is accepted yet.
#[derive(Debug)]
pub struct Listeners {
    https: Vec<TcpListener>,
    plain: Vec<TcpListener>,
    admin: Vec<TcpListener>,
    broadcast: ControlListener,
}

/// The reason why a socket cannot be opened, with a cure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// A TCP address cannot be bound.
    #[error("cannot listen on {address} ({key}); {}", advice(*.address, .source, .owner.as_ref()))]
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
    /// systemd has opened the port under another address, so that it is in use.
    #[error(
        "cannot listen on {address} ({key}); the socket unit has {passed} for this port: write \
         the same address in both"
    )]
    Passed {
        /// The address.
        address: SocketAddr,
        /// The key that names it.
        key: &'static str,
        /// The address that systemd has opened.
        passed: SocketAddr,
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
fn advice(address: SocketAddr, error: &io::Error, owner: Option<&PortOwner>) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => match owner {
            Some(owner) => {
                format!("another program has this port, {owner}; stop it or choose another")
            }
            None => "another program has this port; stop it (`ss -ltnp` as root names it) or \
                     choose another"
                .to_owned(),
        },
        io::ErrorKind::PermissionDenied => "ports below 1024 need the capability \
                                            CAP_NET_BIND_SERVICE, which the systemd unit gives"
            .to_owned(),
        io::ErrorKind::AddrNotAvailable if address.is_ipv6() => format!(
            "this machine has no such address; if it has no IPv6, {}",
            ipv4_advice(address)
        ),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            format!("this machine has no IPv6; {}", ipv4_advice(address))
        }
        _ => "choose another address".to_owned(),
    }
}

/// Returns the advice for an IPv6 address on a machine without IPv6.
fn ipv4_advice(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => format!("write \"0.0.0.0:{port}\" instead"),
        // Never 0.0.0.0: it would open the port to other machines.
        IpAddr::V6(Ipv6Addr::LOCALHOST) => format!("write \"127.0.0.1:{port}\" instead"),
        _ => "write an IPv4 address instead".to_owned(),
    }
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
                .map(|address| open_tcp(*address, key, &mut inherited));
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
    pub(super) fn into_broadcast(self) -> io::Result<ControlListener<tokio::net::UnixListener>> {
        self.broadcast.into_tokio()
    }
}

/// Takes the socket of `address`, which `key` names, from `inherited`, or opens it.
fn open_tcp(
    address: SocketAddr,
    key: &'static str,
    inherited: &mut InheritedSockets,
) -> Result<TcpListener, ListenError> {
    if let Some(listener) = inherited.tcp(address) {
        return Ok(listener);
    }
    if let Some(passed) = inherited.conflict(address) {
        return Err(ListenError::Passed {
            address,
            key,
            passed,
        });
    }
    bind_tcp(address).map_err(|error| ListenError::tcp(address, key, error))
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
fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
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
        let report = |address: &str, source: Errno| {
            let address = address.parse().unwrap();
            ListenError::tcp(address, "server.listen", source.into()).to_string()
        };
        for (address, cure) in [
            ("[::]:443", "write \"0.0.0.0:443\" instead"),
            ("[::1]:9180", "write \"127.0.0.1:9180\" instead"),
            ("[2001:db8::1]:443", "write an IPv4 address instead"),
        ] {
            let failed = format!("cannot listen on {address} (server.listen); this machine has");
            assert_eq!(
                report(address, Errno::AFNOSUPPORT),
                format!("{failed} no IPv6; {cure}")
            );
            assert_eq!(
                report(address, Errno::ADDRNOTAVAIL),
                format!("{failed} no such address; if it has no IPv6, {cure}")
            );
        }
        let missing = report("192.0.2.1:443", Errno::ADDRNOTAVAIL);
        assert!(
            missing.ends_with("this machine has no such address"),
            "{missing}"
        );
    }
}
