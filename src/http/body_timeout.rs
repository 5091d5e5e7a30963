//! The idle timeout of response bodies. If the upstream stalls in the middle of a response,
//! the body fails, so it does not hold its permit for ever. The connection's own idle
//! timeout cannot notice that while other streams are active.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as _;
use tokio::time::Instant;

use crate::core::body::{Body, BodyFilter, FilteredBody, PolledFrame};
use crate::limit::Permit;
use crate::runtime::lazy_timer::LazyTimer;

/// A response body that fails with [`UpstreamStalled`] when no frame comes for a while. Only
/// the wait for the upstream counts, not the time that the client needs to read.
pub(super) type IdleTimeoutBody = FilteredBody<IdleTimeout>;

/// The filter of an [`IdleTimeoutBody`].
pub(super) struct IdleTimeout {
    limit: Duration,
    timer: LazyTimer,
    /// The deadline of the frame that is waited for.
    due: Option<Instant>,
    /// The permit of the request in flight. It is released as soon as the upstream has
    /// sent everything; the client may need much longer to read it.
    permit: Option<Permit>,
}

/// The error of a response body that has stalled.
#[derive(Debug, thiserror::Error)]
#[error("the upstream stalled in the middle of its response")]
pub(super) struct UpstreamStalled;

impl IdleTimeoutBody {
    /// Wraps `body`, which may take `limit` for each frame, and keeps `permit` for it.
    pub(super) fn new(body: Body, limit: Duration, permit: Permit) -> Self {
        Self {
            body,
            filter: IdleTimeout {
                limit,
                timer: LazyTimer::default(),
                due: None,
                permit: Some(permit),
            },
        }
    }
}

impl BodyFilter for IdleTimeout {
    type Data = Bytes;

    fn poll_frame(&mut self, body: &mut Body, cx: &mut Context<'_>) -> PolledFrame {
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if let Poll::Ready(next) = &polled {
            self.due = None;
            if !matches!(next, Some(Ok(_))) || body.is_end_stream() {
                self.permit = None;
            }
            return polled;
        }
        let limit = self.limit;
        let due = *self.due.get_or_insert_with(|| Instant::now() + limit);
        self.timer
            .poll_until(due, cx)
            .map(|()| Some(Err(UpstreamStalled.into())))
    }
}
