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

use super::Refusal;
use super::handler::Exchange;
use super::watched::Stalled;
use crate::activity::{ActivityTracker, Chunk, InFlight, SendClock};
use crate::body::{self, Body};
use crate::client::ClientIp;
use crate::files::BrokenOff;
use crate::forwarded::RequestId;
use crate::metrics;
use crate::upstream::ReadBack;

/// The line, written on drop.
#[derive(Debug)]
pub(super) struct AccessLine {
    client: ClientIp,
    request_id: RequestId,
    method: Method,
    path: String,
    version: Version,
    start: Instant,
    status: StatusCode,
    bytes: u64,
    end: End,
    /// Where it is counted.
    metrics: Arc<metrics::Route>,
    /// Of its connection.
    activity: ActivityTracker,
    /// Why the edge answered itself.
    refusal: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
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

impl End {
    fn of(error: &body::Error) -> Self {
        if error.is::<Stalled>() {
            Self::Stalled
        } else if is_of_file(&**error) {
            Self::File
        } else {
            Self::Upstream
        }
    }
}

/// Whether a file is behind it, however often it was wrapped on its way through an
/// encoder.
fn is_of_file(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>();
    let inner = wrapped.and_then(std::io::Error::get_ref);
    error.is::<BrokenOff>()
        || error.is::<ReadBack>()
        || inner.is_some_and(|inner| is_of_file(inner))
}

impl AccessLine {
    /// Begins with a request. Until an answer begins, the end is that the client
    /// went away: 499, as nginx has it.
    pub(super) fn new<B>(
        exchange: &Exchange<'_>,
        request: &Request<B>,
        metrics: &Arc<metrics::Route>,
    ) -> Self {
        Self {
            client: exchange.sender.client,
            request_id: exchange.sender.request_id.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            version: request.version(),
            start: Instant::now(),
            status: StatusCode::from_u16(499).expect("three digits"),
            bytes: 0,
            end: End::Client,
            metrics: Arc::clone(metrics),
            activity: exchange.downstream.activity.clone(),
            refusal: None,
        }
    }

    /// The request goes a route, by which it is counted.
    pub(super) fn routed(&mut self, metrics: &Arc<metrics::Route>) {
        self.metrics = Arc::clone(metrics);
    }

    /// The edge answers itself.
    pub(super) fn refused(&mut self, refusal: Refusal) {
        self.metrics.refusals.add(refusal.name());
        self.refusal = Some(refusal);
    }

    /// Goes on with the answer: the line is written when `body` ends.
    pub(super) fn answered(
        mut self,
        status: StatusCode,
        body: Body,
        clock: Arc<SendClock>,
        in_flight: InFlight,
    ) -> Answer {
        self.status = status;
        if body.is_end_stream() {
            self.end = End::Complete;
        }
        Answer {
            body,
            clock,
            line: self,
            _in_flight: in_flight,
        }
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let is_given_up = matches!(self.end, End::Client | End::Untaken);
        self.activity.record_exchange_end(!is_given_up);
        let took = self.start.elapsed();
        self.metrics.answered(self.status.as_u16(), took);
        if matches!(self.refusal, Some(Refusal::Over(_))) {
            // The limit has said it; a flood must not fill the disk.
            return;
        }
        let end = match self.end {
            End::Complete => "complete",
            End::Stalled => "upstream_stalled",
            End::Upstream => "upstream_broke_off",
            End::File => "file_broke_off",
            End::Untaken => "client_stalled",
            End::Client => "client_left",
        };
        // Texts as such: what is only displayed goes through a formatter.
        self.client.with_text(|client| {
            tracing::info!(
                target: "pwd_edge::access",
                message = "request",
                method = self.method.as_str(),
                path = self.path,
                version = name(self.version),
                status = self.status.as_u16(),
                bytes = self.bytes,
                ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                end,
                refused = self.refusal.map(Refusal::message),
                client.ip = client,
                request.id = self.request_id.as_str(),
            );
        });
    }
}

/// As requests name it.
fn name(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/3.0",
    }
}

/// The body of an answer on its way to the client.
pub struct Answer {
    body: Body,
    clock: Arc<SendClock>,
    line: AccessLine,
    _in_flight: InFlight,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.line.end == End::Client && self.clock.has_expired() {
            self.line.end = End::Untaken;
        }
    }
}

impl hyper::body::Body for Answer {
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
                        self.line.end = End::Complete;
                    }
                }
                Some(Err(error)) => {
                    self.line.end = End::of(error);
                    tracing::warn!(%error, path = self.line.path, "an answer broke off");
                }
                None => self.line.end = End::Complete,
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
