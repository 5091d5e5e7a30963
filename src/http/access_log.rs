//! One log line for every request, written when its answer has been sent or
//! the client has gone. Paths are logged, query strings never.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::{Method, Request, StatusCode, Version};
use tokio::time::Instant;

use super::Rejection;
use super::body_timeout::UpstreamStalled;
use super::handler::RequestContext;
use crate::core::body::{self, Body};
use crate::core::client::ClientIp;
use crate::core::error_chain::error_chain;
use crate::files::FileBodyError;
use crate::forwarded::RequestId;
use crate::metrics;
use crate::runtime::activity::{ActivityTracker, Chunk, InFlight, SendClock};
use crate::upstream::ReadBack;

/// The line, written on drop.
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
    /// Where it is counted.
    metrics: Arc<metrics::Route>,
    /// Of its connection.
    activity: ActivityTracker,
    /// Why the edge answered itself.
    rejection: Option<Rejection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseEnd {
    /// The client has it all.
    Complete,
    /// Laravel did not go on with its answer.
    Stalled,
    /// Laravel broke off in the middle of its answer.
    Upstream,
    /// A file could not be read to its end, or what was buffered on disk.
    File,
    /// The client did not take what was sent to it.
    Untaken,
    /// The client went away.
    Client,
}

impl ResponseEnd {
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

/// Whether a file is behind it, however often it was wrapped on its way through an
/// encoder.
fn is_file_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>();
    let inner = wrapped.and_then(std::io::Error::get_ref);
    error.is::<FileBodyError>()
        || error.is::<ReadBack>()
        || inner.is_some_and(|inner| is_file_error(inner))
}

impl AccessLogEntry {
    /// Begins with a request. Until an answer begins, the end is that the client
    /// went away: 499, as nginx has it.
    pub(super) fn new<B>(
        exchange: &RequestContext<'_>,
        request: &Request<B>,
        metrics: &Arc<metrics::Route>,
    ) -> Self {
        Self {
            client: exchange.client_info.client,
            request_id: exchange.client_info.request_id.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            version: request.version(),
            start: Instant::now(),
            status: StatusCode::from_u16(499).expect("three digits"),
            bytes: 0,
            end: ResponseEnd::Client,
            metrics: Arc::clone(metrics),
            activity: exchange.downstream.activity.clone(),
            rejection: None,
        }
    }

    /// The request goes a route, by which it is counted.
    pub(super) fn set_route(&mut self, metrics: &Arc<metrics::Route>) {
        self.metrics = Arc::clone(metrics);
    }

    /// The edge answers itself.
    pub(super) fn set_rejection(&mut self, rejection: Rejection) {
        self.metrics.rejections.add(rejection.code());
        self.rejection = Some(rejection);
    }

    /// Goes on with the answer: the line is written when `body` ends.
    pub(super) fn begin_response(
        mut self,
        status: StatusCode,
        body: Body,
        clock: Arc<SendClock>,
        in_flight: InFlight,
    ) -> LoggedBody {
        self.status = status;
        if body.is_end_stream() {
            self.end = ResponseEnd::Complete;
        }
        LoggedBody {
            body,
            clock,
            line: self,
            _in_flight: in_flight,
        }
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        let is_given_up = matches!(self.end, ResponseEnd::Client | ResponseEnd::Untaken);
        self.activity.record_exchange_end(!is_given_up);
        let took = self.start.elapsed();
        self.metrics.record_response(self.status.as_u16(), took);
        if matches!(self.rejection, Some(Rejection::Over(_))) {
            // The limit has said it; a flood must not fill the disk.
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
        // Texts as such: what is only displayed goes through a formatter.
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

/// As requests name it.
fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/3.0",
    }
}

/// The body of an answer on its way to the client.
pub struct LoggedBody {
    body: Body,
    clock: Arc<SendClock>,
    line: AccessLogEntry,
    _in_flight: InFlight,
}

impl fmt::Debug for LoggedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        if self.line.end == ResponseEnd::Client && self.clock.has_expired() {
            self.line.end = ResponseEnd::Untaken;
        }
    }
}

impl hyper::body::Body for LoggedBody {
    type Data = Chunk;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, body::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(next) = &polled {
            self.line.activity.record();
            match next {
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    self.line.bytes += bytes as u64;
                    if self.body.is_end_stream() {
                        self.line.end = ResponseEnd::Complete;
                    }
                }
                Some(Err(error)) => {
                    self.line.end = ResponseEnd::of(error);
                    let (path, error) = (&self.line.path, error_chain(&**error));
                    if self.line.end == ResponseEnd::File {
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
                None => self.line.end = ResponseEnd::Complete,
            }
        }
        polled.map_ok(|frame| frame.map_data(|bytes| self.clock.chunk(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
