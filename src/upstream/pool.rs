//! Connections to one server: kept while they rest, opened when none does.
//!
//! On hyper's connections and not on hyper-util's pooling client, since that
//! drops a request whose connection could not be made and does not tell whether
//! a byte of the answer had come (`docs/decisions/0006-connection-pool.md`).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connector::{self, Stream};
use super::fastcgi::{self, Script};
use super::{Settings, Target};
use crate::core::body::{self, Body};
use crate::runtime::lazy_timer::LazyTimer;

/// The connections to one server. Its tasks are not counted by `Drain`: resting
/// connections must not hold up a stop.
#[derive(Debug)]
pub(super) struct Pool {
    target: Arc<Target>,
    speaks: PoolProtocol,
    connect_timeout: Duration,
    resting: Arc<IdlePool>,
}

/// What is spoken on the connections.
#[derive(Debug)]
enum PoolProtocol {
    Http,
    /// On a new connection for each request, so none ever rests.
    FastCgi {
        script: Arc<Script>,
        server: Arc<str>,
    },
}

/// Connections without a request, the one that was used last at the end.
#[derive(Debug)]
struct IdlePool {
    lines: Mutex<IdleConns>,
    most: usize,
    limit: Duration,
}

#[derive(Debug, Default)]
struct IdleConns {
    all: Vec<(Instant, HttpConn)>,
    /// Whether a task closes those that have rested for too long.
    watched: bool,
}

/// One connection that nobody else uses.
#[derive(Debug)]
pub(super) enum PooledConn {
    Http(HttpConn),
    FastCgi(Box<fastcgi::Connection>),
}

/// A connection to an HTTP server.
#[derive(Debug)]
pub(super) struct HttpConn {
    sender: SendRequest<Body>,
    /// Whether a byte came since the request was handed over.
    response_started: Arc<AtomicBool>,
    /// For answers that do not come.
    timer: LazyTimer,
}

/// How an exchange failed.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The connection had ended before: not a byte was sent, and here is the
    /// request again.
    Unsent(Box<Request<Body>>, body::Error),
    /// The request, or some of it, may have been read.
    Sent {
        error: body::Error,
        /// Whether a byte of the answer had come.
        response_started: bool,
    },
}

impl Pool {
    pub(super) fn new(target: Arc<Target>, settings: &Settings) -> Self {
        let speaks = match &settings.root {
            None => PoolProtocol::Http,
            Some(root) => PoolProtocol::FastCgi {
                script: Arc::new(Script::of(root)),
                server: target.to_string().into(),
            },
        };
        Self {
            target,
            speaks,
            connect_timeout: settings.connect_timeout.get(),
            resting: Arc::new(IdlePool {
                lines: Mutex::default(),
                most: settings.max_idle.size(),
                limit: settings.idle_timeout.get(),
            }),
        }
    }

    /// A connection that rests, if there is one that is still open.
    pub(super) fn checkout_idle(&self) -> Option<PooledConn> {
        let mut lines = self.resting.lines.lock();
        while let Some((since, line)) = lines.all.pop() {
            if line.sender.is_ready() && since.elapsed() < self.resting.limit {
                return Some(PooledConn::Http(line));
            }
        }
        None
    }

    /// A new connection.
    ///
    /// # Errors
    /// What the system said, or `TimedOut`.
    pub(super) async fn connect(&self) -> io::Result<PooledConn> {
        let (response_started, timeout) = (Arc::new(AtomicBool::new(false)), self.connect_timeout);
        let stream =
            connector::connect(&self.target.address, timeout, Arc::clone(&response_started))
                .await?;
        match &self.speaks {
            PoolProtocol::Http => HttpConn::begin(stream, response_started)
                .await
                .map(PooledConn::Http),
            PoolProtocol::FastCgi { script, server } => {
                let (script, server) = (Arc::clone(script), Arc::clone(server));
                let line = fastcgi::Connection::new(stream, response_started, script, server);
                Ok(PooledConn::FastCgi(Box::new(line)))
            }
        }
    }

    /// Takes a connection back, once its answer is read to the end; `busy` is
    /// dropped then, or when the connection ends.
    pub(super) fn checkin<T: Send + 'static>(&self, line: PooledConn, busy: T) {
        match line {
            PooledConn::Http(line) if line.sender.is_ready() => self.resting.put(line),
            PooledConn::Http(mut line) => {
                let resting = Arc::clone(&self.resting);
                TokioExecutor::new().execute(async move {
                    let ready = line.sender.ready().await;
                    drop(busy);
                    if ready.is_ok() {
                        resting.put(line);
                    }
                });
            }
            PooledConn::FastCgi(line) => {
                if let Some(end) = line.end() {
                    TokioExecutor::new().execute(async move {
                        let _ = end.await;
                        drop(busy);
                    });
                }
            }
        }
    }
}

impl IdlePool {
    fn put(self: &Arc<Self>, line: HttpConn) {
        let mut lines = self.lines.lock();
        if lines.all.len() >= self.most {
            // The one that has rested longest is the likeliest to be closed soon.
            lines.all.remove(0);
        }
        lines.all.push((Instant::now(), line));
        if !lines.watched {
            lines.watched = true;
            TokioExecutor::new().execute(watch(Arc::downgrade(self), self.limit));
        }
    }

    /// Closes what has rested for too long. Returns when the next is due.
    fn sweep(&self) -> Option<Instant> {
        let mut lines = self.lines.lock();
        let limit = self.limit;
        lines
            .all
            .retain(|(since, line)| line.sender.is_ready() && since.elapsed() < limit);
        let next = lines.all.first().map(|(since, _)| *since + limit);
        lines.watched = next.is_some();
        next
    }
}

/// Ends when nothing rests any more.
async fn watch(resting: Weak<IdlePool>, limit: Duration) {
    let mut due = Instant::now() + limit;
    loop {
        tokio::time::sleep_until(due).await;
        let Some(next) = resting.upgrade().and_then(|resting| resting.sweep()) else {
            return;
        };
        due = next;
    }
}

impl PooledConn {
    /// What rings if an answer does not come; it may have served before.
    pub(super) fn take_timer(&mut self) -> LazyTimer {
        match self {
            Self::Http(line) => std::mem::take(&mut line.timer),
            Self::FastCgi(_) => LazyTimer::default(),
        }
    }

    /// Keeps it for the next.
    pub(super) fn put_timer(&mut self, timer: LazyTimer) {
        if let Self::Http(line) = self {
            line.timer = timer;
        }
    }

    /// Sends a request and waits for the head of its answer. Dropping this
    /// future ends the connection.
    pub(super) async fn exchange(
        &mut self,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, ExchangeError> {
        match self {
            Self::Http(line) => line.exchange(*request).await,
            // In a box, for which the other has no room.
            Self::FastCgi(line) => {
                let answer = Box::pin(line.exchange(*request)).await;
                answer.map_err(|error| ExchangeError::Sent {
                    error: error.into(),
                    response_started: line.response_started.load(Relaxed),
                })
            }
        }
    }
}

impl HttpConn {
    async fn begin(stream: Stream, response_started: Arc<AtomicBool>) -> io::Result<Self> {
        let handshake = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        TokioExecutor::new().execute(async move {
            // Whoever waits for an answer on it is told; nobody else needs to be.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self {
            sender,
            response_started,
            timer: LazyTimer::default(),
        })
    }

    /// hyper hands a request back only if its connection's task never took it
    /// out of its queue: nothing was encoded and its body was not asked for a
    /// frame. (hyper-util's `retry_canceled_requests` goes by the same sign.) So
    /// what comes back may be sent again whatever its method.
    fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, ExchangeError>> {
        self.response_started.store(false, Relaxed);
        // The connection's task has it from here: the future has no room for it.
        let answer = self.sender.try_send_request(request);
        async move {
            match answer.await {
                Ok(answer) => Ok(answer.map(body::boxed)),
                Err(mut failed) => Err(match failed.take_message() {
                    Some(request) => {
                        ExchangeError::Unsent(Box::new(request), failed.into_error().into())
                    }
                    None => ExchangeError::Sent {
                        error: failed.into_error().into(),
                        response_started: self.response_started.load(Relaxed),
                    },
                }),
            }
        }
    }
}

/// Headers of one answer; hyper's own limit of 100 is too few for an app that
/// sets a cookie for each of its preferences.
const MAX_HEADERS: usize = 256;
/// The longest head of an answer, in bytes, and what is read of its body at once: 64 KiB
/// come with their head.
const MAX_HEADER_BYTES: usize = 80 * 1024;
