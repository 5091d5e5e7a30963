//! The connection pool of one server: keeps idle HTTP/1.1 connections, opens new ones, and
//! exchanges requests on them.
//!
//! It uses hyper's connections directly. hyper-util's pooled client drops a request whose
//! connection cannot be made, and does not report whether a byte of the response had arrived
//! (`docs/decisions/0006-connection-pool.md`).
//!
//! Three kinds of tasks work here. Each HTTP connection has a task that drives it and ends
//! with it. A connection that is checked in before its response has been read completely gets
//! a task that waits for that. One task per server closes connections that have been idle too
//! long.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::Executor;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connector::{self, Stream};
use super::fastcgi::{self, Script};
use super::{Settings, Target};
use crate::core::body::{self, Body};
use crate::runtime::lazy_timer::LazyTimer;

/// The connections to one server. `Drain` does not count the pool's tasks: idle connections
/// must not delay a shutdown.
#[derive(Debug)]
pub(super) struct Pool {
    target: Arc<Target>,
    protocol: PoolProtocol,
    connect_timeout: Duration,
    idle: Arc<IdlePool>,
}

/// The protocol on the connections.
#[derive(Debug)]
enum PoolProtocol {
    Http,
    /// Every request has a connection of its own, so none is ever idle.
    FastCgi {
        script: Arc<Script>,
        server: Arc<str>,
    },
}

/// The idle connections of one server.
///
/// Requests take the most recently used connection, so that the others can reach the idle
/// timeout. The lock is a leaf: it is held for a push, a pop or a sweep, never across an
/// `.await` or another lock.
#[derive(Debug)]
struct IdlePool {
    conns: Mutex<IdleConns>,
    max_idle_connections: usize,
    idle_timeout: Duration,
}

#[derive(Debug, Default)]
struct IdleConns {
    /// Each connection with the time of its checkin, in that order.
    all: Vec<(Instant, HttpConn)>,
    /// Whether a task closes expired connections. It is true as long as the task runs, and
    /// both change it under the lock: so there is always one task if `all` is not empty, and
    /// never a second one.
    has_sweeper: bool,
}

/// A connection in the hands of one request.
#[derive(Debug)]
pub(super) enum PooledConn {
    Http(HttpConn),
    FastCgi(Box<fastcgi::Connection>),
}

/// A connection to an HTTP server.
#[derive(Debug)]
pub(super) struct HttpConn {
    sender: SendRequest<Body>,
    /// Whether a byte has arrived since the request was handed over. The stream sets it in
    /// the connection's task. hyper's channel passes the result on after that, so `Relaxed`
    /// is enough.
    response_started: Arc<AtomicBool>,
    /// The response timeout's timer, kept for the next request.
    timer: LazyTimer,
    /// Whether the server has responded in HTTP/1.0. hyper then sends HTTP/1.0, too, and
    /// drops a request body of unknown length, since that version has no `chunked`. So the
    /// connection carries no further request.
    is_http10: bool,
}

/// The way in which an exchange failed.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The connection had ended before: nothing was sent. The request comes back.
    Unsent(Box<Request<Body>>, body::Error),
    /// The server may have read the request, or a part of it.
    Sent {
        error: body::Error,
        /// Whether a byte of the response had arrived.
        response_started: bool,
    },
}

impl Pool {
    /// Creates an empty pool for `target`.
    pub(super) fn new(target: Arc<Target>, settings: &Settings) -> Self {
        let protocol = match &settings.root {
            None => PoolProtocol::Http,
            Some(root) => PoolProtocol::FastCgi {
                script: Arc::new(Script::new(root)),
                server: target.to_string().into(),
            },
        };
        Self {
            target,
            protocol,
            connect_timeout: settings.connect_timeout.get(),
            idle: Arc::new(IdlePool {
                conns: Mutex::default(),
                max_idle_connections: settings.max_idle_connections.size(),
                idle_timeout: settings.idle_timeout.get(),
            }),
        }
    }

    /// Takes the most recently used idle connection that is open and not expired. Closes
    /// unusable ones on the way.
    pub(super) fn checkout_idle(&self) -> Option<PooledConn> {
        let mut conns = self.idle.conns.lock();
        while let Some((since, conn)) = conns.all.pop() {
            if conn.sender.is_ready() && since.elapsed() < self.idle.idle_timeout {
                return Some(PooledConn::Http(conn));
            }
        }
        None
    }

    /// Opens a connection. Dropping the future aborts the attempt.
    ///
    /// # Errors
    /// Returns the system's error, or `TimedOut` after `connect_timeout`.
    pub(super) async fn connect(&self) -> io::Result<PooledConn> {
        let (response_started, timeout) = (Arc::new(AtomicBool::new(false)), self.connect_timeout);
        let stream =
            connector::connect(&self.target.address, timeout, Arc::clone(&response_started))
                .await?;
        match &self.protocol {
            PoolProtocol::Http => HttpConn::begin(stream, response_started)
                .await
                .map(PooledConn::Http),
            PoolProtocol::FastCgi { script, server } => {
                let (script, server) = (Arc::clone(script), Arc::clone(server));
                let conn = fastcgi::Connection::new(stream, response_started, script, server);
                Ok(PooledConn::FastCgi(Box::new(conn)))
            }
        }
    }

    /// Returns a connection to the pool once its response has been read completely. `guard`
    /// is dropped then, or when the connection ends.
    pub(super) fn checkin<T: Send + 'static>(&self, conn: PooledConn, guard: T) {
        match conn {
            PooledConn::Http(conn) if conn.sender.is_ready() => self.idle.put(conn),
            PooledConn::Http(mut conn) => {
                let idle = Arc::clone(&self.idle);
                TokioExecutor::new().execute(async move {
                    // hyper wakes this when the body has been read, or was dropped and the
                    // connection closed.
                    let ready = conn.sender.ready().await;
                    drop(guard);
                    if ready.is_ok() {
                        idle.put(conn);
                    }
                });
            }
            PooledConn::FastCgi(conn) => {
                if let Some(end) = conn.end() {
                    TokioExecutor::new().execute(async move {
                        let _ = end.await;
                        drop(guard);
                    });
                }
            }
        }
    }
}

impl IdlePool {
    /// Adds a connection that may be used again, starts the sweeper if there is none, and
    /// closes the connection that has been idle longest if there are `max_idle_connections`
    /// already.
    fn put(self: &Arc<Self>, conn: HttpConn) {
        if conn.is_http10 {
            return;
        }
        let mut conns = self.conns.lock();
        if conns.all.len() >= self.max_idle_connections {
            // The server closes the oldest one first, so this one is worth least.
            conns.all.remove(0);
        }
        conns.all.push((Instant::now(), conn));
        if !conns.has_sweeper {
            conns.has_sweeper = true;
            TokioExecutor::new().execute(sweep_expired(Arc::downgrade(self), self.idle_timeout));
        }
    }

    /// Closes expired connections. Returns the time when the next one expires, or `None` if
    /// none is left and the sweeper must end.
    fn sweep(&self) -> Option<Instant> {
        let mut conns = self.conns.lock();
        let timeout = self.idle_timeout;
        conns
            .all
            .retain(|(since, conn)| conn.sender.is_ready() && since.elapsed() < timeout);
        // The oldest one is the first.
        let next = conns.all.first().map(|(since, _)| *since + timeout);
        conns.has_sweeper = next.is_some();
        next
    }
}

/// Closes expired connections until no connection is idle, or the pool is gone. The weak
/// reference lets a retired pool close its connections at once.
async fn sweep_expired(idle: Weak<IdlePool>, timeout: Duration) {
    let mut due = Instant::now() + timeout;
    loop {
        tokio::time::sleep_until(due).await;
        let Some(next) = idle.upgrade().and_then(|idle| idle.sweep()) else {
            return;
        };
        due = next;
    }
}

impl PooledConn {
    /// Takes the connection's timer for the response timeout, so that it can be used beside
    /// the exchange, which borrows the connection.
    pub(super) fn take_timer(&mut self) -> LazyTimer {
        match self {
            Self::Http(conn) => std::mem::take(&mut conn.timer),
            Self::FastCgi(_) => LazyTimer::default(),
        }
    }

    /// Puts the timer back for the next request.
    pub(super) fn put_timer(&mut self, timer: LazyTimer) {
        if let Self::Http(conn) = self {
            conn.timer = timer;
        }
    }

    /// Sends a request and waits for the head of its response. Dropping the future or the
    /// response's body closes the connection.
    ///
    /// # Errors
    /// Returns [`ExchangeError::Unsent`] with the request if nothing was sent, and
    /// [`ExchangeError::Sent`] otherwise.
    pub(super) async fn exchange(
        &mut self,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, ExchangeError> {
        match self {
            Self::Http(conn) => conn.exchange(*request).await,
            // Boxed: the FastCGI future is large, and this future is part of every request's.
            Self::FastCgi(conn) => {
                let response = Box::pin(conn.exchange(*request)).await;
                response.map_err(|error| ExchangeError::Sent {
                    error: error.into(),
                    response_started: conn.response_started.load(Relaxed),
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
            // The request on the connection gets the error; without a request it does not
            // matter.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self {
            sender,
            response_started,
            timer: LazyTimer::default(),
            is_http10: false,
        })
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// hyper hands a request back only if the connection's task never took it out of the
    /// queue: hyper has encoded nothing and not polled the body. hyper-util's
    /// `retry_canceled_requests` relies on the same. So a request that comes back may be
    /// sent again, whatever its method.
    fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, ExchangeError>> {
        self.response_started.store(false, Relaxed);
        // This moves the request into the queue before the future exists, which therefore
        // has no room for it.
        let response = self.sender.try_send_request(request);
        async move {
            match response.await {
                Ok(response) => {
                    self.is_http10 = response.version() < Version::HTTP_11;
                    Ok(response.map(body::boxed))
                }
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

/// The maximum number of headers in a response. hyper's own limit of 100 is too low for an
/// app that sets a cookie for each of its preferences.
const MAX_HEADERS: usize = 256;
/// The size of a connection's read buffer in bytes. It bounds the head of a response, and
/// lets a body of 64 KiB arrive together with its head.
const MAX_HEADER_BYTES: usize = 80 * 1024;
