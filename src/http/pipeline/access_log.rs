//! The stage of the access log: one event per request, written when the response has been
//! sent or the client has disconnected. Paths are logged, query strings never. The entry
//! also feeds the metrics of the route.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Body as _;
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;

use crate::core::body::{self, Body, BodyFilter, FilteredBody, PolledFrame};
use crate::core::client_ip::ClientIp;
use crate::core::error_chain::error_chain;
use crate::files::FileBodyError;
use crate::forwarded::{ClientInfo, RequestId};
use crate::http::body_timeout::UpstreamStalled;
use crate::http::{Downstream, Metrics, Rejection, RouteMetrics};
use crate::runtime::activity::{ActivityTracker, Chunk, InFlight, SendClock};
use crate::upstream::ReadBack;

/// Begins the entries of the access log.
#[derive(Debug)]
pub(super) struct AccessLog {
    /// The metrics of requests for which no route is found.
    unrouted: Arc<RouteMetrics>,
}

impl AccessLog {
    /// Creates the stage. Requests without a route count in `metrics` as the route `none`.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            unrouted: metrics.route(&"none".into()),
        }
    }

    /// Begins the entry of `request`, and an exchange on its connection. Until a response
    /// begins, the status is nginx's 499: the client disconnected.
    pub(super) fn begin<B>(
        &self,
        downstream: &Downstream,
        client_info: &ClientInfo,
        request: &Request<B>,
    ) -> AccessLogEntry {
        AccessLogEntry {
            client: client_info.client,
            request_id: client_info.request_id.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            version: request.version(),
            start: Instant::now(),
            status: StatusCode::from_u16(499).expect("499 is a valid status"),
            bytes: 0,
            end: ResponseEnd::Client,
            metrics: Arc::clone(&self.unrouted),
            rejection: None,
            activity: downstream.activity.clone(),
            _in_flight: downstream.activity.begin_exchange(),
        }
    }

    /// Counts a request whose head was rejected, and logs it if `is_first`. Its method and
    /// path are not known.
    pub(super) fn record_rejected_head(
        &self,
        downstream: &Downstream,
        rejection: Rejection,
        is_first: bool,
    ) {
        self.unrouted.count_rejection(rejection);
        if is_first {
            tracing::info!(
                name: "request_head_rejected",
                { client.ip = %downstream.peer, rejected = rejection.code() },
                "request head rejected"
            );
        }
    }
}

/// The entry of one request, logged on drop, so also if the request is cancelled.
#[derive(Debug)]
pub(super) struct AccessLogEntry {
    client: ClientIp,
    request_id: RequestId,
    method: Method,
    path: String,
    version: Version,
    start: Instant,
    status: StatusCode,
    bytes: u64,
    end: ResponseEnd,
    /// The metrics of its route.
    metrics: Arc<RouteMetrics>,
    /// The reason if the edge itself has responded.
    rejection: Option<Rejection>,
    /// The activity of its connection.
    activity: ActivityTracker,
    /// The exchange, which is open until the response has ended.
    _in_flight: InFlight,
}

/// The way in which a response has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseEnd {
    /// The whole response was sent.
    Complete,
    /// The upstream stalled in the middle of the response.
    Stalled,
    /// The upstream aborted the response.
    Upstream,
    /// A file, or the part of a response that is buffered on disk, could not be read.
    File,
    /// The client did not read the response.
    Untaken,
    /// The client disconnected before the end of the response.
    Client,
}

impl ResponseEnd {
    /// Returns the end that an error of the body stands for.
    fn of(error: &body::Error) -> Self {
        if error.is::<UpstreamStalled>() {
            Self::Stalled
        } else if is_file_error(&**error) {
            Self::File
        } else {
            Self::Upstream
        }
    }
}

/// Returns whether `error` comes from reading a file. Each encoder wraps it once more in an
/// [`io::Error`](std::io::Error).
fn is_file_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>();
    let inner = wrapped.and_then(std::io::Error::get_ref);
    error.is::<FileBodyError>()
        || error.is::<ReadBack>()
        || inner.is_some_and(|inner| is_file_error(inner))
}

impl AccessLogEntry {
    /// Sets the route in whose metrics the request counts.
    pub(super) fn set_route(&mut self, metrics: &Arc<RouteMetrics>) {
        self.metrics = Arc::clone(metrics);
    }

    /// Sets the reason why the edge itself responds, and counts it.
    pub(super) fn set_rejection(&mut self, rejection: Rejection) {
        self.metrics.count_rejection(rejection);
        self.rejection = Some(rejection);
    }

    /// Returns the path of the request.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the reason why the edge itself responds, if it is set.
    pub(super) fn rejection(&self) -> Option<Rejection> {
        self.rejection
    }

    /// Moves the entry into the body of `response`. It is logged when the body ends or is
    /// dropped.
    pub(super) fn begin_response(
        mut self,
        response: Response<Body>,
        clock: Arc<SendClock>,
    ) -> Response<LoggedBody> {
        self.status = response.status();
        if response.body().is_end_stream() {
            self.end = ResponseEnd::Complete;
        }
        let filter = LogFilter {
            clock,
            log_entry: self,
        };
        response.map(|body| LoggedBody { body, filter })
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        let is_given_up = matches!(self.end, ResponseEnd::Client | ResponseEnd::Untaken);
        self.activity.record_exchange_end(!is_given_up);
        let took = self.start.elapsed();
        self.metrics.record_response(self.status.as_u16(), took);
        if matches!(self.rejection, Some(Rejection::Over(_))) {
            // The limit logs it, at a bounded rate: a flood must not fill the disk.
            return;
        }
        let end = match self.end {
            ResponseEnd::Complete => "complete",
            ResponseEnd::Stalled => "upstream_stalled",
            ResponseEnd::Upstream => "upstream_aborted",
            ResponseEnd::File => "file_aborted",
            ResponseEnd::Untaken => "client_stalled",
            ResponseEnd::Client => "client_aborted",
        };
        // Fields are `str` where possible: a `Display` value would pass a formatter first.
        self.client.with_text(|client| {
            tracing::info!(
                name: "http_request",
                target: "pwd_edge::access",
                message = "request",
                method = self.method.as_str(),
                path = self.path,
                version = version_name(self.version),
                status = self.status.as_u16(),
                bytes = self.bytes,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                end,
                rejected = self.rejection.map(Rejection::code),
                client.ip = client,
                request.id = self.request_id.as_str(),
            );
        });
    }
}

/// Returns the version as it is written in a request line.
fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/3.0",
    }
}

/// The body of a response to the client. It counts the bytes for the access log and records
/// activity.
pub(crate) type LoggedBody = FilteredBody<LogFilter>;

/// The filter of a [`LoggedBody`].
pub(crate) struct LogFilter {
    clock: Arc<SendClock>,
    log_entry: AccessLogEntry,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFilter").finish_non_exhaustive()
    }
}

impl Drop for LogFilter {
    fn drop(&mut self) {
        if self.log_entry.end == ResponseEnd::Client && self.clock.has_expired() {
            self.log_entry.end = ResponseEnd::Untaken;
        }
    }
}

impl BodyFilter for LogFilter {
    type Data = Chunk;

    fn poll_frame(&mut self, body: &mut Body, cx: &mut Context<'_>) -> PolledFrame<Chunk> {
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if let Poll::Ready(next) = &polled {
            let log_entry = &mut self.log_entry;
            log_entry.activity.record();
            match next {
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    log_entry.bytes += bytes as u64;
                    // hyper does not poll a body again whose `is_end_stream` is true.
                    if body.is_end_stream() {
                        log_entry.end = ResponseEnd::Complete;
                    }
                }
                Some(Err(error)) => {
                    log_entry.end = ResponseEnd::of(error);
                    let (path, error) = (&log_entry.path, error_chain(&**error));
                    if log_entry.end == ResponseEnd::File {
                        tracing::warn!(
                            name: "file_response_aborted",
                            path, error, "file response aborted"
                        );
                    } else {
                        tracing::warn!(
                            name: "upstream_response_aborted",
                            path, error, "upstream response aborted"
                        );
                    }
                }
                None => log_entry.end = ResponseEnd::Complete,
            }
        }
        polled.map_ok(|frame| frame.map_data(|bytes| self.clock.chunk(bytes)))
    }
}
