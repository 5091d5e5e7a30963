//! A downstream connection: serves HTTP/1.1 or HTTP/2, as ALPN has negotiated, until the
//! connection ends, stalls, or is retired by a reload or a shutdown.
//!
//! It uses hyper's own builders instead of hyper-util's automatic one, which has no
//! timeout while it detects the version.

mod builders;
mod driver;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::driver::{ConnDriver, DriverExit};
use super::h2_errors::ErrorFrameStream;
use super::h2_head_timeout::HeadTimeoutStream;
use super::keep_alive::KeepAliveStream;
use super::lingering_close::{LingeringStream, close_lingering};
use super::stream_tasks::Streams;
use super::write_coalescing::{CoalescedConn, CoalescingWriter};
use super::{BadRequest, Downstream, LoggedBody, Pipeline, Rejection, RequestBody, Settings};
use crate::runtime::activity::{FloodGuard, SendClock};
use crate::runtime::drain::Drain;
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
    let (reporter, client) = (Arc::clone(&pipeline), Arc::clone(&downstream));
    let driver = ConnDriver {
        settings,
        activity: downstream.activity.clone(),
        rejections: Arc::clone(&downstream.rejections),
        alpn,
        request_begun: Arc::new(Notify::new()),
        retired,
    };
    let request_begun = Arc::clone(&driver.request_begun);
    let streams = Streams::new(drain.clone(), settings.stream_idle_timeout.get());
    let http2_streams = (alpn == Alpn::Http2).then(|| streams.clone());
    let rejected_upgrade = RejectedUpgrade::default();
    let upgrade_slot = rejected_upgrade.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        request_begun.notify_one();
        let activity = &downstream.activity;
        let clock = match &http2_streams {
            Some(streams) => streams.begin(activity),
            None => Arc::new(SendClock::new(activity.clone())),
        };
        let (pipeline, downstream) = (Arc::clone(&pipeline), Arc::clone(&downstream));
        let upgrade = request.extensions().get::<OnUpgrade>().cloned();
        let upgrade = upgrade.map(|upgrade| (upgrade, upgrade_slot.clone()));
        // Boxed: otherwise the future of every function that takes the request would
        // reserve room for it, and HTTP/2, which makes a task of this future, would move
        // it several times.
        let request = Box::new(RequestBody::wrap(request, activity, &drain));
        Box::pin(async move {
            let response = pipeline.handle(&downstream, request, clock).await;
            if let Some((upgrade, slot)) = upgrade {
                slot.set(upgrade, response.status());
            }
            Ok::<Response<LoggedBody>, Infallible>(response)
        })
    });
    // One event for each connection: a flood must not fill the disk.
    let mut is_first = true;
    let report = move |rejection| {
        let is_first = std::mem::take(&mut is_first);
        reporter.report_rejected_head(&client, rejection, is_first);
    };
    match alpn {
        Alpn::Http1 => {
            let served = driver.serve_http1(io, service, rejected_upgrade, report);
            served.await;
        }
        Alpn::Http2 => {
            driver.serve_http2(io, service, streams, report).await;
        }
    }
}

impl ConnDriver<'_> {
    /// Serves HTTP/1.1. While the connection is idle between requests, hyper's connection
    /// is dropped and only the stream remains. Passes a request whose head hyper has rejected
    /// to `report`.
    async fn serve_http1<S, H, B>(
        &self,
        io: S,
        mut service: H,
        rejected_upgrade: RejectedUpgrade,
        mut report: impl FnMut(Rejection),
    ) where
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
                (driven.await, connection.into_parts())
            });
            let (exit, parts) = serving.await;
            let Some(parts) = parts else {
                return rejected_upgrade.close().await;
            };
            (stream, service) = (parts.io.into_inner(), parts.service);
            match exit {
                DriverExit::Stalled => return,
                DriverExit::Idle => {
                    stream.unread(parts.read_buf);
                    if self.wait_for_request(&mut stream).await {
                        continue;
                    }
                    // No request is open and nothing is unread, so a clean TLS close is all.
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
                    return;
                }
                DriverExit::Ended(result) => {
                    if let Err(error) = result
                        && let Some(rejection) = head_rejection(&error, &parts.read_buf)
                    {
                        report(rejection);
                        respond_to_head(rejection, &mut stream).await;
                    }
                }
            }
            return close_lingering(&mut stream).await;
        }
    }

    /// Serves HTTP/2, each request in a task of `streams`. Passes a request that h2 has
    /// rejected to `report`.
    async fn serve_http2<S, H, B>(
        &self,
        io: S,
        service: H,
        streams: Streams,
        report: impl FnMut(Rejection) + Unpin,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        H::Future: Send + 'static,
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (header, idle) = (self.settings.header_timeout, self.settings.idle_timeout);
        let http2 = builders::http2(self.settings, streams);
        let io = HeadTimeoutStream::new(LingeringStream::new(io), header.get());
        let io = FloodGuard::new(io, self.activity.clone());
        let io = CoalescingWriter::new(ErrorFrameStream::new(io, report));
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
}

/// The last upgrade of an HTTP/1.1 connection that was rejected. hyper hands the connection
/// over to it at the end, as if it had been accepted.
#[derive(Clone, Debug, Default)]
struct RejectedUpgrade(Arc<Mutex<Option<OnUpgrade>>>);

impl RejectedUpgrade {
    /// Sets `upgrade`, unless `status` says that it was accepted.
    fn set(&self, upgrade: OnUpgrade, status: StatusCode) {
        let is_rejected = status != StatusCode::SWITCHING_PROTOCOLS;
        *self.0.lock() = is_rejected.then_some(upgrade);
    }

    /// Closes the connection if it was handed over to a rejected upgrade.
    async fn close(&self) {
        let upgrade = self.0.lock().take();
        if let Some(upgrade) = upgrade
            && let Ok(upgraded) = upgrade.await
        {
            close_lingering(&mut TokioIo::new(upgraded)).await;
        }
    }
}

/// Returns why hyper has rejected a head, if that is what `error` says. `unread` is the part
/// of the head that has arrived.
fn head_rejection(error: &hyper::Error, unread: &[u8]) -> Option<Rejection> {
    // Empty lines before a request are no part of it (RFC 9112 §2.2).
    let has_begun = !unread.trim_ascii_start().is_empty();
    if error.is_timeout() {
        has_begun.then_some(Rejection::HeadTooSlow)
    } else if error.is_parse_too_large() {
        Some(Rejection::HeadTooLarge)
    } else {
        let is_malformed = error.is_parse();
        is_malformed.then_some(Rejection::BadRequest(BadRequest::Syntax))
    }
}

/// Sends the response to a head that hyper has rejected without one.
async fn respond_to_head<S: AsyncWrite + Unpin>(rejection: Rejection, stream: &mut S) {
    if rejection == Rejection::HeadTooSlow {
        let write = async {
            stream.write_all(HEAD_TIMEOUT_RESPONSE).await?;
            stream.flush().await
        };
        // The connection ends either way.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, write).await;
    }
}

const HEAD_TIMEOUT_RESPONSE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// The time that a client has to accept that response, or the close of an idle connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
