//! The body of a request. If the response comes first, the rest of the body is still on its
//! way. The connection can serve the next request only after that rest, so the edge reads
//! and drops it if it is short.
//!
//! Over HTTP/1.1 the connection ends after the response if the rest is long or its length is
//! unknown, and the response says so. Over HTTP/2 only the stream ends: the edge resets it
//! with `NO_ERROR` (RFC 9113 §8.1), but later than the response. Some clients drop a
//! response that arrives together with the reset.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use hyper::{Request, Version};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::runtime::activity::{ActivityTracker, InFlight};
use crate::runtime::drain::Drain;

/// The body of a request. When it is dropped before its end, a task drops its rest.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` once it is dropped.
    incoming: Option<Incoming>,
    /// `None` if the request has no body.
    rest: Option<Rest>,
}

/// The bytes of a request body that are left when it is dropped; 0 before that.
#[derive(Debug)]
pub(crate) struct UnreadBytes(Option<Arc<AtomicU64>>);

/// The rest of a body, and what a task needs to drop it.
#[derive(Debug)]
struct Rest {
    /// The maximum of the bytes that are left; [`UNKNOWN`] if it has no declared length, or
    /// if the client waits for 100 (Continue) and may never send them.
    bytes: u64,
    /// Set to `bytes` when the body is dropped.
    unread: Arc<AtomicU64>,
    version: Version,
    activity: ActivityTracker,
    drain: Drain,
}

impl RequestBody {
    /// Returns `request` with its body wrapped. The connection is that of `activity`.
    pub(super) fn wrap(
        request: Request<Incoming>,
        activity: &ActivityTracker,
        drain: &Drain,
    ) -> Request<Self> {
        let (parts, incoming) = request.into_parts();
        let rest = (!incoming.is_end_stream()).then(|| {
            // hyper sends 100 (Continue) when the body is first polled. Until then the client
            // may send the body or omit it (RFC 9110 §10.1.1).
            let bytes = if parts.headers.contains_key(EXPECT) {
                UNKNOWN
            } else {
                max_bytes(&incoming)
            };
            Rest {
                bytes,
                unread: Arc::default(),
                version: parts.version,
                activity: activity.clone(),
                drain: drain.clone(),
            }
        });
        let incoming = Some(incoming);
        Request::from_parts(parts, Self { incoming, rest })
    }

    /// Returns the bytes that are left when the body is dropped.
    pub(super) fn unread_bytes(&self) -> UnreadBytes {
        UnreadBytes(self.rest.as_ref().map(|rest| Arc::clone(&rest.unread)))
    }
}

impl UnreadBytes {
    /// Returns whether an HTTP/1.1 connection ends after a response that is sent now.
    pub(super) fn end_connection(&self) -> bool {
        let bytes = self.0.as_ref().map_or(0, |bytes| bytes.load(Relaxed));
        bytes > MAX_DROPPED_BYTES
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, rest } = self.get_mut();
        let Some(incoming) = incoming else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        if let Some(rest) = rest {
            rest.bytes = match &polled {
                Poll::Ready(None) => 0,
                // Nobody knows where the next request would begin.
                Poll::Ready(Some(Err(_))) => UNKNOWN,
                _ => max_bytes(incoming),
            };
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let incoming = self.incoming.as_ref();
        incoming.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(incoming), Some(rest)) = (self.incoming.take(), self.rest.take())
            && rest.bytes > 0
        {
            rest.drop_bytes(incoming);
        }
    }
}

impl Rest {
    /// Drops the rest of the body. Until then the exchange is open: the next bytes of the
    /// connection are no request.
    fn drop_bytes(self, incoming: Incoming) {
        self.unread.store(self.bytes, Relaxed);
        let exchange = self.activity.begin_exchange();
        if self.version == Version::HTTP_2 {
            self.drain
                .spawn_on_drop(drop_until_reset(incoming, self.activity, exchange));
        } else if self.bytes <= MAX_DROPPED_BYTES {
            self.drain
                .spawn_on_drop(drop_within_timeout(incoming, self.activity, exchange));
        } else {
            // hyper closes the connection after the response.
            exchange.leave_open();
        }
    }
}

/// Reads and drops the rest of an HTTP/1.1 body. If it does not arrive in time, hyper closes
/// the connection.
async fn drop_within_timeout(mut incoming: Incoming, activity: ActivityTracker, open: InFlight) {
    let end = Instant::now() + DROP_TIMEOUT;
    loop {
        let due = end.min(Instant::now() + DROP_IDLE_TIMEOUT);
        match timeout_at(due, incoming.frame()).await {
            Ok(Some(Ok(_))) => activity.record(),
            Ok(None) => return,
            Ok(Some(Err(_))) | Err(_) => return open.leave_open(),
        }
    }
}

/// Reads and drops the rest of an HTTP/2 body until it is time for the reset. h2 sends it when
/// the body is dropped before its end.
async fn drop_until_reset(mut incoming: Incoming, activity: ActivityTracker, _open: InFlight) {
    let reset = Instant::now() + RESET_DELAY;
    let mut left = MAX_DROPPED_BYTES;
    while let Ok(Some(Ok(frame))) = timeout_at(reset, incoming.frame()).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        if bytes > left {
            // Reading no further closes the window, so the client pauses.
            return sleep_until(reset).await;
        }
        if bytes > 0 {
            activity.record();
        }
        left -= bytes;
    }
}

/// Returns the maximum of the bytes that `body` still brings.
fn max_bytes(body: &Incoming) -> u64 {
    if body.is_end_stream() {
        0
    } else {
        body.size_hint().upper().unwrap_or(UNKNOWN)
    }
}

const UNKNOWN: u64 = u64::MAX;
/// The longest rest of a body that is dropped: about as much work as a new TLS handshake.
const MAX_DROPPED_BYTES: u64 = 256 * 1024;
/// The longest time that dropping takes over HTTP/1.1.
const DROP_TIMEOUT: Duration = Duration::from_secs(30);
/// The time that it waits for the next byte.
const DROP_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time from the end of the request, in the edge's view, to the reset of its HTTP/2
/// stream. The client reads the response meanwhile.
const RESET_DELAY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
