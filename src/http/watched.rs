//! The body of Laravel's answer, watched: if Laravel stops in the middle, the
//! answer ends broken and does not hold its client's place for ever. The
//! connection's own watchdog cannot see that while other streams move.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::body::{self, Body};
use crate::limit::Permit;

pub(super) struct Watched {
    body: Body,
    limit: Duration,
    /// Runs while Laravel is waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    _permit: Permit,
}

/// Laravel began an answer and did not go on.
#[derive(Debug, thiserror::Error)]
#[error("upstream stopped in the middle of its answer")]
pub(super) struct Stalled;

impl Watched {
    pub(super) fn new(body: Body, limit: Duration, permit: Permit) -> Self {
        Self {
            body,
            limit,
            alarm: None,
            waiting: false,
            _permit: permit,
        }
    }

    /// Whether it has been waited for too long.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = Instant::now() + self.limit;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if !self.waiting {
            alarm.as_mut().reset(due);
            self.waiting = true;
        }
        alarm.as_mut().poll(cx)
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.waiting = false;
            return polled;
        }
        self.poll_alarm(cx).map(|()| Some(Err(Stalled.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
