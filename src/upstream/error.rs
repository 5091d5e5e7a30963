//! Errors of requests to the app. They say whose fault a failure is, which decides about
//! retries, health and the status of the client's response.

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

/// The reason why Laravel gave no response. `Display` names the server but never the
/// request, which may hold a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The connection could not be made; nothing was sent.
    #[error("cannot connect to {target}")]
    Connect {
        /// The server, as configured.
        target: Arc<Target>,
        /// The system's error, with advice where the cause is likely.
        #[source]
        source: io::Error,
    },
    /// The server did not accept the connection within `connect_timeout`; nothing was sent.
    #[error("{0} did not accept the connection in time")]
    ConnectTimeout(Arc<Target>),
    /// The server closed a new connection before anything was sent.
    #[error("{target} closed the connection before the request was sent")]
    Closed {
        /// The server, as configured.
        target: Arc<Target>,
        /// hyper's error.
        #[source]
        source: body::Error,
    },
    /// php-fpm rejected the request, because it has too many.
    #[error("{0} takes no more requests")]
    Overloaded(Arc<Target>),
    /// The app had `max_connections` requests for too long; nothing was sent.
    #[error("the app is busy with as many requests as upstream.max_connections allows")]
    Busy,
    /// The head of the response did not arrive within `response_timeout`.
    #[error("{target} did not respond within {} s", .waited.as_secs())]
    ResponseTimeout {
        /// The server, as configured.
        target: Arc<Target>,
        /// The time that the edge waited.
        waited: Duration,
    },
    /// The request body is longer than the limit.
    #[error("the request body is over the limit")]
    TooLarge,
    /// The client sent its body below the minimum rate.
    #[error("the request body came too slowly")]
    TooSlow,
    /// The client's body ended early.
    #[error("the client stopped sending its request")]
    Client(#[source] body::Error),
    /// The request body could not be buffered on disk.
    #[error("cannot keep request bodies on disk; see upstream.disk_buffer_size")]
    Spool(#[source] io::Error),
    /// The connection was lost, or the server sent something that is not a response.
    #[error("{target} aborted the connection or sent an invalid response")]
    Protocol {
        /// The server, as configured.
        target: Arc<Target>,
        /// The error of hyper or of FastCGI.
        #[source]
        source: body::Error,
    },
}

impl Error {
    /// Returns the code by which it is logged and counted.
    pub(crate) fn code(&self) -> &'static str {
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
            Self::Protocol { .. } => "protocol_error",
        }
    }

    /// Converts a failure to connect. On a Unix socket it adds advice for the usual causes.
    pub(super) fn from_connect(target: &Arc<Target>, source: io::Error) -> Self {
        let source = with_advice(target, source);
        let target = Arc::clone(target);
        match source.kind() {
            io::ErrorKind::TimedOut => Self::ConnectTimeout(target),
            _ => Self::Connect { target, source },
        }
    }

    /// Converts a failure of a connection that has carried some of the request. The client's
    /// own body may be the cause.
    pub(super) fn from_exchange(target: &Arc<Target>, source: body::Error) -> Self {
        // hyper wraps an error of the request body in one that `is_user`.
        let is_body_error = source
            .downcast_ref()
            .is_some_and(|error: &hyper::Error| error.is_user());
        if is_body_error {
            return Self::from_client_body(source);
        }
        let target = Arc::clone(target);
        match source.downcast() {
            Ok(fastcgi) => match *fastcgi {
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

    /// Converts a failure to read a client's body.
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

    /// Returns whether the server's system reset the connection. It does so if the server
    /// closes its end, or dies, with bytes of the request unread.
    pub(super) fn is_reset(&self) -> bool {
        let Self::Protocol { source, .. } = self else {
            return false;
        };
        find_cause(&**source, |error: &io::Error| {
            error.kind() == io::ErrorKind::ConnectionReset
        })
    }

    /// Returns whether the server did not accept the connection.
    pub(super) fn is_connect_error(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::ConnectTimeout(_) | Self::Closed { .. }
        )
    }

    /// Returns whether the request or this machine's disk is the cause, so that the failure
    /// does not count against the server.
    pub(super) fn is_client_error(&self) -> bool {
        matches!(
            self,
            Self::TooLarge | Self::TooSlow | Self::Client(_) | Self::Spool(_)
        )
    }
}

fn is_caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    find_cause(error, |_: &E| true)
}

/// Returns whether `error` or one of its causes is an `E` that `matches`.
fn find_cause<E: StdError + 'static>(
    error: &(dyn StdError + 'static),
    matches: impl Fn(&E) -> bool,
) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref().is_some_and(&matches) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Adds advice to the error of a Unix socket if its cause is one of the usual ones.
fn with_advice(target: &Target, error: io::Error) -> io::Error {
    let Address::Unix(path) = &target.address else {
        return error;
    };
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => permission_advice(path),
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

/// Returns advice for a socket at `path` that the edge's user may not open. Names its group
/// and mode if they can be read.
fn permission_advice(path: &Path) -> String {
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
    fn connect_error_of_a_unix_socket_carries_advice() {
        let error_text = |path: &Path, kind: io::ErrorKind| {
            let target = Target::try_from(format!("fastcgi+unix:{}", path.display()));
            error_chain(&Error::from_connect(
                &Arc::new(target.unwrap()),
                kind.into(),
            ))
        };
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("fpm.sock");
        let inside = error_text(&socket, io::ErrorKind::PermissionDenied);
        assert!(inside.contains("may not enter its directory"), "{inside}");
        std::fs::write(&socket, "").unwrap();
        let group = std::fs::metadata(&socket).unwrap().gid();
        let forbidden = error_text(&socket, io::ErrorKind::PermissionDenied);
        assert!(
            forbidden.contains(&format!("its group is number {group}, its mode 6")),
            "{forbidden}"
        );
        assert!(error_text(&socket, io::ErrorKind::NotFound).contains("php-fpm does not run"));
        assert!(error_text(&socket, io::ErrorKind::WouldBlock).contains("pm.max_children"));
    }
}
