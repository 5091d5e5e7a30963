//! The Laravel app behind the edge: one HTTP/1.1 peer on TCP or on a Unix
//! socket, reached through a keep-alive pool.

mod connector;
mod health;
mod target;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::LengthLimitError;
use hyper::{Request, Response, body::Incoming};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use self::connector::Connector;
pub use self::health::Health;
pub use self::target::Target;
use crate::body::Body;
use crate::progress::{Progress, Ticking};
use crate::units::{Count, Span};

/// `[upstream]` of `config.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where Laravel listens.
    pub url: Target,
    /// How long a connection may take to be accepted.
    pub connect_timeout: Span,
    /// How long the head of an answer may take, counted from the last moment
    /// that a byte of the request moved.
    pub response_timeout: Span,
    /// How long an unused connection is kept: less than the app keeps it.
    pub idle_timeout: Span,
    /// How many unused connections are kept.
    pub max_idle: Count,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: Target::default(),
            connect_timeout: Span::seconds(3),
            response_timeout: Span::seconds(60),
            idle_timeout: Span::seconds(15),
            max_idle: Count::new(64),
        }
    }
}

/// Why no answer came from Laravel. `Display` names the target but never the
/// request: it may hold a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection: nothing was sent.
    #[error("cannot connect to {target}")]
    Connect {
        /// The peer, as configured.
        target: Arc<Target>,
        /// What the connector said.
        #[source]
        source: ClientError,
    },
    /// The connection was not accepted in time: nothing was sent.
    #[error("{0} did not accept the connection in time")]
    ConnectTimeout(Arc<Target>),
    /// Connected and sent, but no answer began in time.
    #[error("{target} did not answer within {} s", .waited.as_secs())]
    ResponseTimeout {
        /// The peer, as configured.
        target: Arc<Target>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The client sent more than it may.
    #[error("the request body is over the limit")]
    TooLarge,
    /// The client's body broke off.
    #[error("the client stopped sending its request")]
    Client(#[source] ClientError),
    /// The connection broke, or the answer was not HTTP.
    #[error("{target} broke off or answered with something that is not HTTP")]
    Protocol {
        /// The peer, as configured.
        target: Arc<Target>,
        /// What hyper said.
        #[source]
        source: ClientError,
    },
}

impl Error {
    /// What went wrong, in a word, as metrics count it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::ResponseTimeout { .. } => "response_timeout",
            Self::TooLarge => "body_too_large",
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
}

/// Sends requests to Laravel. Cheap to clone; clones share the pool.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<Connector, Body>,
    target: Arc<Target>,
    health: Arc<Health>,
    response_timeout: Duration,
}

impl Upstream {
    /// A pool without a connection yet.
    pub fn new(settings: &Settings) -> Self {
        let target = Arc::new(settings.url.clone());
        let connector = Connector::new(Arc::clone(&target), settings.connect_timeout.get());
        // The pool's idle connections are not counted by `Drain`: they must not
        // hold up a shutdown.
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(settings.idle_timeout.get())
            .pool_max_idle_per_host(settings.max_idle.size())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .set_host(false)
            .build(connector);
        Self {
            client,
            target,
            health: Arc::default(),
            response_timeout: settings.response_timeout.get(),
        }
    }

    /// Whether the app has answered lately.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Sends `request`, whose target is in origin form, and returns the answer
    /// as soon as its head is there; its body streams. Dropping the future or
    /// the body cancels the request at Laravel.
    ///
    /// # Errors
    /// No connection, no answer in time, or a broken one; see [`Error`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        let progress = Progress::new();
        let (mut parts, body) = request.into_parts();
        parts.uri = self.target.absolute(&parts.uri);
        parts.version = hyper::Version::HTTP_11;
        let body = Body::new(Ticking::new(body, progress.clone()));
        let waited = self.response_timeout;
        let answer = tokio::select! {
            answer = self.client.request(Request::from_parts(parts, body)) => {
                answer.map_err(|error| self.explain(error))
            }
            () = progress.stalled(|_| waited) => {
                Err(Error::ResponseTimeout { target: Arc::clone(&self.target), waited })
            }
        };
        self.health.note(answer.as_ref().err());
        answer
    }

    fn explain(&self, source: ClientError) -> Error {
        let target = Arc::clone(&self.target);
        if cause::<LengthLimitError>(&source).is_some() {
            return Error::TooLarge;
        }
        if source.is_connect() {
            let kind = cause::<std::io::Error>(&source).map(std::io::Error::kind);
            return match kind {
                Some(std::io::ErrorKind::TimedOut) => Error::ConnectTimeout(target),
                _ => Error::Connect { target, source },
            };
        }
        match cause::<hyper::Error>(&source) {
            Some(error) if error.is_user() => Error::Client(source),
            _ => Error::Protocol { target, source },
        }
    }
}

/// The first cause of type `E` in the chain of `error`.
fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
