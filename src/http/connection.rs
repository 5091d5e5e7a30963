//! One connection from a client: HTTP/1.1 or HTTP/2 as ALPN settled it, with a
//! watchdog over it, until it ends, stalls, or is retired.
//!
//! hyper's own builders, not hyper-util's automatic one: that one has no
//! deadline while it guesses the version.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::coalesce::{CoalescedConn, CoalescingWriter};
use super::head_timer::HeadTimer;
use super::keep_alive::{self, KeepAliveStream};
use super::normalize::MAX_HEADERS;
use super::streams::Streams;
use super::{Handler, LoggedBody, RejectionCounter, Settings};
use crate::core::client::ClientIp;
use crate::core::error_chain::error_chain;
use crate::limit::Permit;
use crate::runtime::activity::{ActivityTracker, FloodGuard, SendClock};
use crate::runtime::drain::Drain;
use crate::runtime::wake_gate::WakeGate;
use crate::tls::{Alpn, ClientSubject};

/// What one connection knows about its peer.
#[derive(Debug)]
pub struct Downstream {
    /// Its address, or that of the proxy that stands before it.
    pub peer: ClientIp,
    /// Whether its PROXY header names no client. Then `peer` is the proxy, which passes
    /// on unread what comes: the headers are not the proxy's.
    pub is_unnamed: bool,
    /// The port it connects from; none if a proxy connects for it.
    pub port: Option<u16>,
    /// Who it is by its certificate, if it was asked for one.
    pub subject: Option<ClientSubject>,
    /// Its right to this connection; a WebSocket session takes a share of it.
    pub permit: Arc<Permit>,
    /// When anything last moved on it.
    pub activity: ActivityTracker,
    /// How often limits have refused it something.
    pub refusals: Arc<RejectionCounter>,
}

/// Serves a connection to its end. When `retired` is cancelled it finishes what
/// it is doing and closes.
pub async fn serve<S>(
    io: S,
    alpn: Alpn,
    handler: Arc<Handler>,
    downstream: Arc<Downstream>,
    retired: CancellationToken,
    drain: Drain,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let kept = Arc::clone(&handler);
    let watch = ConnDriver {
        settings: kept.settings(),
        activity: downstream.activity.clone(),
        refusals: Arc::clone(&downstream.refusals),
        alpn,
        asked: Arc::new(Notify::new()),
        retired,
    };
    let first = Arc::clone(&watch.asked);
    let streams = Streams::new(drain, watch.settings.stream_idle_timeout.get());
    let begun = (alpn == Alpn::Http2).then(|| streams.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        first.notify_one();
        let activity = &downstream.activity;
        let clock = match &begun {
            Some(streams) => streams.begin(activity),
            None => Arc::new(SendClock::new(activity.clone())),
        };
        let (handler, downstream) = (Arc::clone(&handler), Arc::clone(&downstream));
        // In boxes: each function on the request's way would keep room for it, and HTTP/2
        // makes a task of this, and would move it several times.
        let request = Box::new(request);
        Box::pin(async move {
            Ok::<Response<LoggedBody>, Infallible>(
                handler.handle(&downstream, request, clock).await,
            )
        })
    });
    match alpn {
        Alpn::Http1 => watch.serve_http1(io, service).await,
        Alpn::Http2 => {
            let http2 = http2(watch.settings, streams);
            let io = CoalescingWriter::new(FloodGuard::new(io, watch.activity.clone()));
            let connection = io.into_conn(|io| http2.serve_connection(TokioIo::new(io), service));
            let mut connection = Box::new(connection);
            let retire = |mut turns: Pin<&mut CoalescedConn<http2::Connection<_, _, _>>>| {
                Pin::new(turns.connection()).graceful_shutdown();
            };
            let never = std::future::pending();
            watch.drive(Pin::new(&mut *connection), retire, never).await;
        }
    }
}

struct ConnDriver<'a> {
    settings: &'a Settings,
    activity: ActivityTracker,
    refusals: Arc<RejectionCounter>,
    alpn: Alpn,
    /// Notified once a request has come.
    asked: Arc<Notify>,
    retired: CancellationToken,
}

/// What happens to a connection that is driven.
enum DriverEvent<E> {
    Ended(Result<(), E>),
    Retired,
    /// It is to end soon, whatever it still does.
    Dismissed(Dismissal),
    Stalled,
    BecameIdle,
}

/// Why a connection is to end soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dismissal {
    /// Limits have refused all that it asked for, again and again.
    Refused,
    /// The rest of a response waits for a client that does not take it. hyper has
    /// handed that over, so its stream alone cannot be reset any more.
    Stuck,
}

impl Dismissal {
    /// Returns the code that the log has for it.
    fn code(self) -> &'static str {
        match self {
            Self::Refused => "limits_exceeded",
            Self::Stuck => "response_stalled",
        }
    }
}

/// Why a connection is not driven any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverExit {
    Ended,
    Idle,
}

impl ConnDriver<'_> {
    /// HTTP/1.1: requests, and between them rests without hyper.
    async fn serve_http1<S, H, B>(&self, io: S, mut service: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        B: hyper::body::Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut line, traffic) = KeepAliveStream::new(io, self.activity.clone());
        loop {
            let http1 = http1(self.settings);
            // In a box, of which nothing is left while the connection rests.
            let connection = http1.serve_connection(TokioIo::new(line), service);
            let mut connection = Box::new(connection.with_upgrades());
            let retire = |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| {
                connection.graceful_shutdown()
            };
            let driven = self.drive(Pin::new(&mut *connection), retire, traffic.became_idle());
            if driven.await == DriverExit::Ended {
                return;
            }
            let Some(parts) = connection.into_parts() else {
                return;
            };
            (line, service) = (parts.io.into_inner(), parts.service);
            line.unread(parts.read_buf);
            if !self.wait_for_request(&mut line).await {
                // It has nothing to wait for: whoever is there is told the end.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, line.shutdown()).await;
                return;
            }
        }
    }

    /// Waits for the next request; false if there will be none.
    async fn wait_for_request<S: AsyncRead + Unpin>(&self, line: &mut KeepAliveStream<S>) -> bool {
        let limit = self.settings.header_timeout.get();
        tokio::select! {
            woken = line.wait_readable() => woken,
            () = self.retired.cancelled() => false,
            () = tokio::time::sleep(limit.saturating_sub(keep_alive::MIN_IDLE_TIME)) => false,
        }
    }

    /// Drives `connection` until it ends, stands still for too long, or `became_idle`
    /// completes; asks it to end, once, when it is retired.
    async fn drive<C, E>(
        &self,
        mut connection: Pin<&mut C>,
        retire: impl Fn(Pin<&mut C>),
        rested: impl Future<Output = ()>,
    ) -> DriverExit
    where
        C: Future<Output = Result<(), E>>,
        E: std::error::Error,
    {
        let mut stalled = pin!(self.stalled());
        let mut dismissed = pin!(self.dismissed());
        let mut leave = pin!(async {
            self.retired.cancelled().await;
            // Who has just connected is about to ask, and would not ask twice.
            let first = self.asked.notified();
            let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, first).await;
        });
        let mut rested = pin!(rested);
        let mut end = pin!(None);
        let aside = WakeGate::new();
        let mut retired = false;
        loop {
            let rest = async {
                tokio::select! {
                    biased;
                    () = &mut leave, if !retired => DriverEvent::Retired,
                    () = &mut stalled => DriverEvent::Stalled,
                    why = &mut dismissed, if end.is_none() => DriverEvent::Dismissed(why),
                    () = ended(end.as_mut()), if end.is_some() => DriverEvent::Stalled,
                    () = &mut rested, if !retired => DriverEvent::BecameIdle,
                }
            };
            let wake = aside.select(
                rest,
                |cx| connection.as_mut().poll(cx).map(DriverEvent::Ended),
                false,
            );
            match wake.await {
                DriverEvent::Ended(ended) => {
                    if let Err(error) = ended {
                        tracing::debug!(
                            name: "connection_failed",
                            error = error_chain(&error),
                            "connection failed"
                        );
                    }
                    return DriverExit::Ended;
                }
                DriverEvent::Retired => {
                    retired = true;
                    retire(connection.as_mut());
                }
                DriverEvent::Dismissed(why) => {
                    tracing::debug!(name: "connection_closing", reason = why.code(), "connection closing");
                    end.set(Some(self.finished(why)));
                    if !std::mem::replace(&mut retired, true) {
                        retire(connection.as_mut());
                    }
                }
                DriverEvent::Stalled => {
                    tracing::debug!(name: "connection_stalled", "stalled connection closed");
                    return DriverExit::Ended;
                }
                DriverEvent::BecameIdle => return DriverExit::Idle,
            }
        }
    }

    /// Completes when nothing has moved on the connection for too long, or its socket
    /// has taken nothing.
    async fn stalled(&self) {
        let limit = |activity: &ActivityTracker| {
            if activity.is_active() || activity.has_unsent() {
                self.settings.stream_idle_timeout.get()
            } else {
                self.settings.idle_timeout.get()
            }
        };
        let stall = self.settings.stream_idle_timeout.get();
        self.activity.stalled_or_blocked(limit, stall).await;
    }

    async fn dismissed(&self) -> Dismissal {
        let limit = self.settings.stream_idle_timeout.get();
        let stuck = async {
            if self.alpn == Alpn::Http1 {
                // Without windows nothing sticks but the socket.
                std::future::pending::<()>().await;
            }
            while !self.activity.has_stuck_chunk(limit) {
                tokio::time::sleep(limit).await;
            }
        };
        tokio::select! {
            () = self.refusals.exceeded() => Dismissal::Refused,
            () = stuck => Dismissal::Stuck,
        }
    }

    /// Completes when a connection that is to end has had time to, and nothing is under
    /// way on it: what was admitted has clocks of its own.
    async fn finished(&self, why: Dismissal) {
        let grace = match why {
            Dismissal::Refused => DISMISSED,
            Dismissal::Stuck => self.settings.stream_idle_timeout.get(),
        };
        tokio::time::sleep(grace).await;
        while self.activity.is_active() {
            tokio::time::sleep(DISMISSED).await;
        }
    }
}

/// Completes when `end` does, if there is one.
async fn ended(end: Pin<&mut Option<impl Future<Output = ()>>>) {
    if let Some(end) = end.as_pin_mut() {
        end.await;
    }
}

fn http1(settings: &Settings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(HeadTimer::default())
        .header_read_timeout(settings.header_timeout.get())
        .max_headers(MAX_HEADERS)
        .max_header_size(settings.max_header_size.get())
        .max_buf_size(settings.max_header_size.get().max(MAX_BUFFER_BYTES));
    builder
}

fn http2(settings: &Settings, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    let head = u32::try_from(settings.max_header_size.get()).unwrap_or(u32::MAX);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_concurrent_streams.get())
        .max_header_list_size(head)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    builder
}

/// How long a client has to read that a connection at rest ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may finish what it is doing once all is refused to it.
const DISMISSED: Duration = Duration::from_secs(5);
/// How long a connection that is retired before it asked anything may still ask.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// What hyper gathers of a body before it waits for the client.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Per stream, while its client does not read.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
