//! Why no answer came.

use std::error::Error as StdError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::LengthLimitError;

use super::fastcgi::ExchangeError;
use super::{Address, Protocol, Target};
use crate::core::body;
use crate::runtime::activity::TooSlow;

/// Why no answer came from Laravel. `Display` names the server but never the
/// request: it may hold a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection: nothing was sent.
    #[error("cannot connect to {target}")]
    Connect {
        /// The server, as configured.
        target: Arc<Target>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection was not accepted in time: nothing was sent.
    #[error("{0} did not accept the connection in time")]
    ConnectTimeout(Arc<Target>),
    /// Connected, but closed again before anything was sent.
    #[error("{target} closed the connection before the request was sent")]
    Closed {
        /// The server, as configured.
        target: Arc<Target>,
        /// What hyper said.
        #[source]
        source: body::Error,
    },
    /// The server takes no more requests.
    #[error("{0} takes no more requests")]
    Overloaded(Arc<Target>),
    /// The app had as many requests as it may have, for too long: nothing was sent.
    #[error("the app is busy with as many requests as upstream.max_connections allows")]
    Busy,
    /// Connected and sent, but no answer began in time.
    #[error("{target} did not answer within {} s", .waited.as_secs())]
    ResponseTimeout {
        /// The server, as configured.
        target: Arc<Target>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The client sent more than it may.
    #[error("the request body is over the limit")]
    TooLarge,
    /// The client sent too slowly.
    #[error("the request body came too slowly")]
    TooSlow,
    /// The client's body broke off.
    #[error("the client stopped sending its request")]
    Client(#[source] body::Error),
    /// The request's body could not be kept until it was whole.
    #[error("cannot keep request bodies on disk; see upstream.spool")]
    Spool(#[source] io::Error),
    /// The path holds an encoded slash, of which PHP's apps and the servers before
    /// them make different things.
    #[error("the path holds an encoded slash")]
    EncodedSlash,
    /// The connection broke, or what came is no answer.
    #[error("{target} broke off or gave no sound answer")]
    Protocol {
        /// The server, as configured.
        target: Arc<Target>,
        /// What went wrong.
        #[source]
        source: body::Error,
    },
}

impl Error {
    /// Returns the code by which it is logged and counted.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect_failed",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::Closed { .. } => "connection_closed",
            Self::ResponseTimeout { .. } => "response_timeout",
            Self::TooLarge => "body_too_large",
            Self::TooSlow => "body_too_slow",
            Self::Client(_) => "client_aborted",
            Self::Overloaded(_) => "overloaded",
            Self::Busy => "capacity_exhausted",
            Self::Spool(_) => "request_buffer_failed",
            Self::EncodedSlash => "path_encoded_slash",
            Self::Protocol { .. } => "protocol_error",
        }
    }

    pub(super) fn from_connect(target: &Arc<Target>, source: io::Error) -> Self {
        let source = with_advice(target, source);
        let target = Arc::clone(target);
        match source.kind() {
            io::ErrorKind::TimedOut => Self::ConnectTimeout(target),
            _ => Self::Connect { target, source },
        }
    }

    /// What went wrong on a connection once the request was on its way.
    pub(super) fn from_exchange(target: &Arc<Target>, source: body::Error) -> Self {
        let is_the_clients = source
            .downcast_ref()
            .is_some_and(|error: &hyper::Error| error.is_user());
        if is_the_clients {
            return Self::from_client_body(source);
        }
        let target = Arc::clone(target);
        match source.downcast() {
            Ok(broken) => match *broken {
                ExchangeError::Overloaded => Self::Overloaded(target),
                ExchangeError::Body(source) => Self::Spool(io::Error::other(source)),
                other => Self::Protocol {
                    target,
                    source: other.into(),
                },
            },
            Err(source) => Self::Protocol { target, source },
        }
    }

    /// What went wrong while a client's body was read.
    pub(super) fn from_client_body(source: body::Error) -> Self {
        if is_caused_by::<LengthLimitError>(&*source) {
            return Self::TooLarge;
        }
        if is_caused_by::<TooSlow>(&*source) {
            Self::TooSlow
        } else {
            Self::Client(source)
        }
    }

    /// Whether it says nothing about the server.
    pub(super) fn is_client_error(&self) -> bool {
        matches!(
            self,
            Self::TooLarge | Self::TooSlow | Self::Client(_) | Self::Spool(_) | Self::EncodedSlash
        )
    }
}

fn is_caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<E>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// What the system says of a Unix socket, and what to do about it.
fn with_advice(target: &Target, error: io::Error) -> io::Error {
    let Address::Unix(path) = &target.address else {
        return error;
    };
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => forbidden(path),
        io::ErrorKind::NotFound if target.protocol == Protocol::FastCgi => {
            "php-fpm does not run, or its pool has another `listen`".to_owned()
        }
        io::ErrorKind::WouldBlock => {
            "its queue is full: see pm.max_children and listen.backlog".to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error} ({advice})"))
}

/// Whose the socket is: the edge's user belongs into that group.
fn forbidden(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(socket) => format!(
            "its group is number {}, its mode {:o}: put the edge's user into that group, \
             or set listen.group in php-fpm's pool",
            socket.gid(),
            socket.mode() & 0o777
        ),
        Err(_) => "the edge's user may not enter its directory".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::error_chain::error_chain;

    #[test]
    fn a_socket_that_is_forbidden_or_absent_comes_with_advice() {
        let told = |path: &Path, kind: io::ErrorKind| {
            let target = Target::try_from(format!("fastcgi+unix:{}", path.display()));
            error_chain(&Error::from_connect(
                &Arc::new(target.unwrap()),
                kind.into(),
            ))
        };
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("fpm.sock");
        let inside = told(&socket, io::ErrorKind::PermissionDenied);
        assert!(inside.contains("may not enter its directory"), "{inside}");
        std::fs::write(&socket, "").unwrap();
        let group = std::fs::metadata(&socket).unwrap().gid();
        let forbidden = told(&socket, io::ErrorKind::PermissionDenied);
        assert!(
            forbidden.contains(&format!("its group is number {group}, its mode 6")),
            "{forbidden}"
        );
        assert!(told(&socket, io::ErrorKind::NotFound).contains("php-fpm does not run"));
        assert!(told(&socket, io::ErrorKind::WouldBlock).contains("pm.max_children"));
    }
}
