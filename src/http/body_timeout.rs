//! The body of Laravel's answer, watched: if Laravel stops in the middle, the
//! answer ends broken and does not hold its client's place for ever. The
//! connection's own watchdog cannot see that while other streams move.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::core::body::{self, Body};
use crate::limit::Permit;
use crate::runtime::lazy_timer::LazyTimer;

pub(super) struct IdleTimeoutBody {
    body: Body,
    limit: Duration,
    timer: LazyTimer,
    /// Until when Laravel is waited for.
    due: Option<Instant>,
    /// Until Laravel has said all: it may be long until the client has it.
    place: Option<Permit>,
}

/// Laravel began an answer and did not go on.
#[derive(Debug, thiserror::Error)]
#[error("upstream stopped in the middle of its answer")]
pub(super) struct UpstreamStalled;

impl IdleTimeoutBody {
    pub(super) fn new(body: Body, limit: Duration, permit: Permit) -> Self {
        Self {
            body,
            limit,
            timer: LazyTimer::default(),
            due: None,
            place: Some(permit),
        }
    }
}

impl hyper::body::Body for IdleTimeoutBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(next) = &polled {
            self.due = None;
            if !matches!(next, Some(Ok(_))) || self.body.is_end_stream() {
                self.place = None;
            }
            return polled;
        }
        let limit = self.limit;
        let due = *self.due.get_or_insert_with(|| Instant::now() + limit);
        let timer = self.timer.poll_until(due, cx);
        timer.map(|()| Some(Err(UpstreamStalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
