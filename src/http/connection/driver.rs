//! The driver of a connection: polls hyper's connection beside the timeouts and signals that
//! end it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::core::error_chain::error_chain;
use crate::http::{RejectionCounter, Settings};
use crate::runtime::activity::ActivityTracker;
use crate::runtime::wake_gate::WakeGate;
use crate::tls::Alpn;

/// Drives hyper's connection beside the timeouts and signals that end it.
pub(super) struct ConnDriver<'a> {
    pub(super) settings: &'a Settings,
    pub(super) activity: ActivityTracker,
    pub(super) rejections: Arc<RejectionCounter>,
    pub(super) alpn: Alpn,
    /// Notified when a request begins.
    pub(super) request_begun: Arc<Notify>,
    pub(super) retired: CancellationToken,
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
pub(super) enum Dismissal {
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
#[derive(Debug)]
pub(super) enum DriverExit<E> {
    /// hyper's connection has ended.
    Ended(Result<(), E>),
    /// The connection makes no progress.
    Stalled,
    /// No exchange is open, and hyper's connection can be dropped.
    Idle,
}

impl ConnDriver<'_> {
    /// Drives `connection` until it ends, stalls for too long (for `idle_limit` while no
    /// exchange is open), or `became_idle` completes. Calls `retire` once, when the
    /// connection is retired or dismissed.
    pub(super) async fn drive<C, E>(
        &self,
        mut connection: Pin<&mut C>,
        retire: impl Fn(Pin<&mut C>),
        idle_limit: impl Fn() -> Duration,
        became_idle: impl Future<Output = ()>,
    ) -> DriverExit<E>
    where
        C: Future<Output = Result<(), E>>,
        E: std::error::Error,
    {
        let mut stalled = pin!(self.stalled(&idle_limit, Duration::ZERO));
        let mut dismissed = pin!(self.dismissed());
        let mut retire_requested = pin!(self.retire_requested());
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
                    log_failure(&result);
                    return DriverExit::Ended(result);
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
                DriverEvent::Stalled if !is_retired && !self.is_busy() => {
                    // A planned end: HTTP/2 clients learn which requests they may repeat
                    // (RFC 9113 §6.8).
                    is_retired = true;
                    retire(connection.as_mut());
                    stalled.set(self.stalled(&idle_limit, IDLE_CLOSE_TIMEOUT));
                }
                DriverEvent::Stalled => {
                    tracing::debug!(name: "connection_stalled", "stalled connection closed");
                    return DriverExit::Stalled;
                }
                DriverEvent::BecameIdle => return DriverExit::Idle,
            }
        }
    }

    /// Completes when the connection is retired and has had time for its first request.
    async fn retire_requested(&self) {
        self.retired.cancelled().await;
        // A client that has just connected is about to send its first request, and would not
        // retry it on another connection.
        let first_request = self.request_begun.notified();
        let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, first_request).await;
    }

    /// Returns whether an exchange is open or a response waits for the client.
    fn is_busy(&self) -> bool {
        let activity = &self.activity;
        activity.is_active() || activity.has_unsent() || !activity.blocked().is_zero()
    }

    /// Completes when the connection has had no activity, or its socket has accepted no
    /// bytes, for longer than the timeout that applies. `extra` extends the idle limit.
    pub(super) async fn stalled(&self, idle_limit: impl Fn() -> Duration, extra: Duration) {
        let limit = |activity: &ActivityTracker| {
            if activity.is_active() || activity.has_unsent() {
                self.settings.stream_idle_timeout.get()
            } else {
                idle_limit() + extra
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
    pub(super) async fn dismissal_ended(&self, reason: Dismissal) {
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
fn log_failure<E: std::error::Error>(result: &Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(
            name: "connection_failed",
            error = error_chain(error),
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

/// The time that the client of an idle connection has to confirm its end.
const IDLE_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that open requests have once limits have dismissed their connection.
pub(super) const DISMISSAL_GRACE: Duration = Duration::from_secs(5);
/// The time that a retired connection still waits for its first request.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
