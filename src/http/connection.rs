//! A downstream connection: serves HTTP/1.1 or HTTP/2, as ALPN has negotiated, until the
//! connection ends, stalls, or is retired by a reload or a shutdown.
//!
//! It uses hyper's own builders instead of hyper-util's automatic one, which has no
//! timeout while it detects the version.

mod builders;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::h2_head_timeout::HeadTimeoutStream;
use super::keep_alive::KeepAliveStream;
use super::stream_tasks::Streams;
use super::write_coalescing::{CoalescedConn, CoalescingWriter};
use super::{Downstream, LoggedBody, Pipeline, RejectionCounter, Settings};
use crate::core::error_chain::error_chain;
use crate::runtime::activity::{ActivityTracker, FloodGuard, SendClock};
use crate::runtime::drain::Drain;
use crate::runtime::wake_gate::WakeGate;
use crate::tls::Alpn;

/// Serves a connection to its end. When `retired` is cancelled, the connection finishes
/// its open requests and closes.
pub(crate) async fn serve<S>(
    io: S,
    settings: &Settings,
    pipeline: Arc<Pipeline>,
    downstream: Arc<Downstream>,
    retired: CancellationToken,
    drain: Drain,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let alpn = downstream.alpn;
    let driver = ConnDriver {
        settings,
        activity: downstream.activity.clone(),
        rejections: Arc::clone(&downstream.rejections),
        alpn,
        request_begun: Arc::new(Notify::new()),
        retired,
    };
    let request_begun = Arc::clone(&driver.request_begun);
    let streams = Streams::new(drain, settings.stream_idle_timeout.get());
    let http2_streams = (alpn == Alpn::Http2).then(|| streams.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        request_begun.notify_one();
        let activity = &downstream.activity;
        let clock = match &http2_streams {
            Some(streams) => streams.begin(activity),
            None => Arc::new(SendClock::new(activity.clone())),
        };
        let (pipeline, downstream) = (Arc::clone(&pipeline), Arc::clone(&downstream));
        // Boxed: otherwise the future of every function that takes the request would
        // reserve room for it, and HTTP/2, which makes a task of this future, would move
        // it several times.
        let request = Box::new(request);
        Box::pin(async move {
            Ok::<Response<LoggedBody>, Infallible>(
                pipeline.handle(&downstream, request, clock).await,
            )
        })
    });
    match alpn {
        Alpn::Http1 => driver.serve_http1(io, service).await,
        Alpn::Http2 => driver.serve_http2(io, service, streams).await,
    }
}

/// Drives hyper's connection beside the timeouts and signals that end it.
struct ConnDriver<'a> {
    settings: &'a Settings,
    activity: ActivityTracker,
    rejections: Arc<RejectionCounter>,
    alpn: Alpn,
    /// Notified when a request begins.
    request_begun: Arc<Notify>,
    retired: CancellationToken,
}

/// An event in the life of a driven connection.
enum DriverEvent<E> {
    Ended(Result<(), E>),
    Retired,
    /// The connection must end soon, whatever its requests do.
    Dismissed(Dismissal),
    Stalled,
    BecameIdle,
}

/// The reason why a connection must end soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dismissal {
    /// Limits have rejected far more of its requests than they admitted.
    Rejected,
    /// The client does not read the end of a response. hyper has handed all of it to h2
    /// already, so the stream alone can no longer be reset.
    Stuck,
}

impl Dismissal {
    /// Returns the code that the log has for it.
    fn code(self) -> &'static str {
        match self {
            Self::Rejected => "limits_exceeded",
            Self::Stuck => "response_stalled",
        }
    }
}

/// The reason why the driver has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverExit {
    Ended,
    Idle,
}

impl ConnDriver<'_> {
    /// Serves HTTP/1.1. While the connection is idle between requests, hyper's connection
    /// is dropped and only the stream remains.
    async fn serve_http1<S, H, B>(&self, io: S, mut service: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        B: hyper::body::Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut stream, conn_activity) = KeepAliveStream::new(io, self.activity.clone());
        let (header, idle) = (self.settings.header_timeout, self.settings.idle_timeout);
        // hyper has a timeout for the head, and this one must not be over before that.
        let idle_limit = || {
            if conn_activity.is_reading_head() {
                idle.get() + header.get()
            } else {
                idle.get()
            }
        };
        loop {
            // Boxed, so that an idle connection keeps no memory for it.
            let serving = Box::pin(async {
                let http1 = builders::http1(self.settings, &conn_activity);
                let connection = http1.serve_connection(TokioIo::new(stream), service);
                let mut connection = connection.with_upgrades();
                let retire = |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| {
                    connection.graceful_shutdown()
                };
                let became_idle = conn_activity.became_idle();
                let driven = self.drive(Pin::new(&mut connection), retire, idle_limit, became_idle);
                let is_idle = driven.await == DriverExit::Idle;
                is_idle.then(|| connection.into_parts()).flatten()
            });
            let Some(parts) = serving.await else {
                return;
            };
            (stream, service) = (parts.io.into_inner(), parts.service);
            stream.unread(parts.read_buf);
            if !self.wait_for_request(&mut stream).await {
                // No request is open, so the connection ends with a clean TLS close.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
                return;
            }
        }
    }

    /// Serves HTTP/2, each request in a task of `streams`.
    async fn serve_http2<S, H, B>(&self, io: S, service: H, streams: Streams)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        H::Future: Send + 'static,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (header, idle) = (self.settings.header_timeout, self.settings.idle_timeout);
        let http2 = builders::http2(self.settings, streams);
        let io = HeadTimeoutStream::new(io, header.get());
        let io = CoalescingWriter::new(FloodGuard::new(io, self.activity.clone()));
        let connection = io.into_conn(|io| http2.serve_connection(TokioIo::new(io), service));
        let mut connection = Box::new(connection);
        let retire = |mut connection: Pin<&mut CoalescedConn<http2::Connection<_, _, _>>>| {
            Pin::new(connection.connection()).graceful_shutdown();
        };
        // The time for the first head runs from the start of the connection.
        let idle_limit = || {
            if self.activity.records() == 0 {
                header.get()
            } else {
                idle.get()
            }
        };
        let never = std::future::pending();
        let driven = self.drive(Pin::new(&mut *connection), retire, idle_limit, never);
        driven.await;
    }

    /// Waits for the next request on an idle connection. Returns false if the client has
    /// closed it, the connection is retired, or the idle timeout is over. Cancel-safe.
    async fn wait_for_request<S: AsyncRead + Unpin>(
        &self,
        stream: &mut KeepAliveStream<S>,
    ) -> bool {
        let limit = self.settings.idle_timeout.get();
        tokio::select! {
            is_readable = stream.wait_readable() => is_readable,
            () = self.retired.cancelled() => false,
            () = self.activity.idle_for(|_| limit) => false,
        }
    }

    /// Drives `connection` until it ends, stalls for too long (for `idle_limit` while no
    /// exchange is open), or `became_idle` completes. Calls `retire` once, when the
    /// connection is retired or dismissed.
    async fn drive<C, E>(
        &self,
        mut connection: Pin<&mut C>,
        retire: impl Fn(Pin<&mut C>),
        idle_limit: impl Fn() -> Duration,
        became_idle: impl Future<Output = ()>,
    ) -> DriverExit
    where
        C: Future<Output = Result<(), E>>,
        E: std::error::Error,
    {
        let mut stalled = pin!(self.stalled(idle_limit));
        let mut dismissed = pin!(self.dismissed());
        let mut retire_requested = pin!(async {
            self.retired.cancelled().await;
            // A client that has just connected is about to send its first request, and
            // would not retry it on another connection.
            let first_request = self.request_begun.notified();
            let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, first_request).await;
        });
        let mut became_idle = pin!(became_idle);
        let mut dismissal_end = pin!(None);
        // hyper's connection is the main work, polled at every wake-up. The timers and
        // signals are polled only when one of them has woken the task. `side` is made anew
        // in each round, but of the same pinned futures; what an event adds or removes
        // there is polled, since the gate polls its side work after each event.
        let gate = WakeGate::new();
        let mut is_retired = false;
        loop {
            let side = async {
                tokio::select! {
                    biased;
                    () = &mut retire_requested, if !is_retired => DriverEvent::Retired,
                    () = &mut stalled => DriverEvent::Stalled,
                    reason = &mut dismissed, if dismissal_end.is_none() => {
                        DriverEvent::Dismissed(reason)
                    }
                    () = wait_if_set(dismissal_end.as_mut()), if dismissal_end.is_some() => {
                        DriverEvent::Stalled
                    }
                    () = &mut became_idle, if !is_retired => DriverEvent::BecameIdle,
                }
            };
            let event = gate.select(
                side,
                |cx| connection.as_mut().poll(cx).map(DriverEvent::Ended),
                false,
            );
            match event.await {
                DriverEvent::Ended(result) => {
                    log_failure(result);
                    return DriverExit::Ended;
                }
                DriverEvent::Retired => {
                    is_retired = true;
                    retire(connection.as_mut());
                }
                DriverEvent::Dismissed(why) => {
                    tracing::debug!(name: "connection_closing", reason = why.code(), "connection closing");
                    dismissal_end.set(Some(self.dismissal_ended(why)));
                    if !std::mem::replace(&mut is_retired, true) {
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

    /// Completes when the connection has had no activity, or its socket has accepted no
    /// bytes, for longer than the timeout that applies.
    async fn stalled(&self, idle_limit: impl Fn() -> Duration) {
        let limit = |activity: &ActivityTracker| {
            if activity.is_active() || activity.has_unsent() {
                self.settings.stream_idle_timeout.get()
            } else {
                idle_limit()
            }
        };
        let (stall, idle) = (
            self.settings.stream_idle_timeout,
            self.settings.idle_timeout,
        );
        self.activity
            .stalled_or_blocked(limit, stall.get(), idle.get())
            .await;
    }

    /// Completes when the connection must end soon, with the reason.
    async fn dismissed(&self) -> Dismissal {
        let limit = self.settings.stream_idle_timeout.get();
        let stuck = async {
            if self.alpn == Alpn::Http1 {
                // HTTP/1.1 has no windows, so only the whole socket can be stuck, which
                // `stalled` notices.
                std::future::pending::<()>().await;
            }
            while !self.activity.has_stuck_chunk(limit) {
                tokio::time::sleep(limit).await;
            }
        };
        tokio::select! {
            () = self.rejections.exceeded() => Dismissal::Rejected,
            () = stuck => Dismissal::Stuck,
        }
    }

    /// Completes when a dismissed connection has had its grace time and has no open
    /// request any more. Admitted requests have timeouts of their own.
    async fn dismissal_ended(&self, reason: Dismissal) {
        let grace = match reason {
            Dismissal::Rejected => DISMISSAL_GRACE,
            Dismissal::Stuck => self.settings.stream_idle_timeout.get(),
        };
        tokio::time::sleep(grace).await;
        while self.activity.is_active() {
            tokio::time::sleep(DISMISSAL_GRACE).await;
        }
    }
}

/// Logs the error with which a connection has ended, if any.
fn log_failure<E: std::error::Error>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(
            name: "connection_failed",
            error = error_chain(&error),
            "connection failed"
        );
    }
}

/// Completes when `future` does, or at once if there is none.
async fn wait_if_set(future: Pin<&mut Option<impl Future<Output = ()>>>) {
    if let Some(future) = future.as_pin_mut() {
        future.await;
    }
}

/// The time that a client has to accept the close of an idle connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that open requests have once limits have dismissed their connection.
const DISMISSAL_GRACE: Duration = Duration::from_secs(5);
/// The time that a retired connection still waits for its first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
