//! Why no answer came.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::LengthLimitError;

use super::Target;
use crate::progress::TooSlow;

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
        source: hyper::Error,
    },
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
    Client(#[source] hyper::Error),
    /// The connection broke, or the answer was not HTTP.
    #[error("{target} broke off or answered with something that is not HTTP")]
    Protocol {
        /// The server, as configured.
        target: Arc<Target>,
        /// What hyper said.
        #[source]
        source: hyper::Error,
    },
}

impl Error {
    /// What went wrong, in a word, as metrics count it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::Closed { .. } => "closed",
            Self::ResponseTimeout { .. } => "response_timeout",
            Self::TooLarge => "body_too_large",
            Self::TooSlow => "body_too_slow",
            Self::Client(_) => "client_broke_off",
            Self::Protocol { .. } => "broke_off",
        }
    }

    /// The error with all its causes, for the log.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    pub(super) fn connecting(target: &Arc<Target>, source: io::Error) -> Self {
        let target = Arc::clone(target);
        match source.kind() {
            io::ErrorKind::TimedOut => Self::ConnectTimeout(target),
            _ => Self::Connect { target, source },
        }
    }

    /// What went wrong on a connection once the request was on its way.
    pub(super) fn on_the_way(target: &Arc<Target>, source: hyper::Error) -> Self {
        if is_caused_by::<LengthLimitError>(&source) {
            return Self::TooLarge;
        }
        if is_caused_by::<TooSlow>(&source) {
            return Self::TooSlow;
        }
        match source.is_user() {
            true => Self::Client(source),
            false => Self::Protocol {
                target: Arc::clone(target),
                source,
            },
        }
    }

    /// Whether it says nothing about the server.
    pub(super) fn is_the_clients(&self) -> bool {
        matches!(self, Self::TooLarge | Self::TooSlow | Self::Client(_))
    }
}

fn is_caused_by<E: StdError + 'static>(error: &hyper::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.is::<E>() {
            return true;
        }
        next = cause.source();
    }
    false
}
