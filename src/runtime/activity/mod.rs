//! Activity tracking: the time at which anything last moved on a connection. Every idle
//! and stall timeout uses it, so a slow peer that makes progress is never disconnected,
//! and one that makes none always is. Also here: bodies with a minimum rate, a guard
//! against control frame floods, and clocks for responses that the client does not read.

mod flood_guard;
mod min_rate;
mod sending;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as _;
use tokio::time::Instant;

pub(crate) use self::flood_guard::{ControlFlood, FloodGuard};
pub(crate) use self::min_rate::{MinRate, MinRateBody, TooSlow};
use self::sending::SendState;
pub(crate) use self::sending::{Chunk, SendClock, SendTimer};
use crate::core::body::{Body, BodyFilter, FilteredBody, PolledFrame};
use crate::runtime::lazy_timer::LazyTimer;

/// Records activity on a connection. An exchange is a request with its response. Clones
/// share one state.
#[derive(Clone, Debug)]
pub(crate) struct ActivityTracker(Arc<Shared>);

// All atomics here and in `sending` are independent counters and times. No other memory is
// published through them, and the tasks that wait for them check again by a timer, so
// `Relaxed` is enough. A change wakes no task: a wake-up for every frame would cost more
// than a timer that fires now and then.
#[derive(Debug)]
struct Shared {
    created_at: Instant,
    /// Milliseconds from `created_at` to the last activity.
    last_activity: AtomicU64,
    /// How often activity was recorded.
    records: AtomicU64,
    /// Number of exchanges in progress.
    active: AtomicUsize,
    /// Exchanges that the client has abandoned since one was last completed.
    abandoned: AtomicUsize,
    sending: SendState,
}

impl ActivityTracker {
    /// Creates a tracker whose last activity is now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            created_at: Instant::now(),
            last_activity: AtomicU64::new(0),
            records: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            sending: SendState::default(),
        }))
    }

    /// Records that the connection is active now.
    pub(crate) fn record(&self) {
        self.0.records.fetch_add(1, Relaxed);
        self.0.last_activity.store(self.elapsed(), Relaxed);
    }

    /// Returns the milliseconds since the tracker was created.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.created_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns how often activity was recorded.
    pub(crate) fn records(&self) -> u64 {
        self.0.records.load(Relaxed)
    }

    /// Records the end of an exchange: completed, or abandoned by the client.
    pub(crate) fn record_exchange_end(&self, is_complete: bool) {
        if is_complete {
            self.0.abandoned.store(0, Relaxed)
        } else {
            self.0.abandoned.fetch_add(1, Relaxed);
        }
    }

    /// Returns how many exchanges the client has abandoned since one was last completed.
    pub(crate) fn abandoned_exchanges(&self) -> usize {
        self.0.abandoned.load(Relaxed)
    }

    /// Begins an exchange, which ends when the guard is dropped.
    pub(crate) fn begin_exchange(&self) -> InFlight {
        self.0.active.fetch_add(1, Relaxed);
        self.record();
        InFlight(self.clone())
    }

    /// Returns whether an exchange is in progress.
    pub(crate) fn is_active(&self) -> bool {
        self.0.active.load(Relaxed) > 0
    }

    /// Returns the time since the last activity.
    pub(crate) fn idle_time(&self) -> Duration {
        let last_activity = self.0.last_activity.load(Relaxed);
        Duration::from_millis(self.elapsed().saturating_sub(last_activity))
    }

    /// Completes once there was no activity for `limit`. The timer can be reused for the
    /// next exchange. Cancel-safe.
    pub(crate) async fn idle_for_with(&self, timer: &mut LazyTimer, limit: Duration) {
        let due = || {
            self.0.created_at + Duration::from_millis(self.0.last_activity.load(Relaxed)) + limit
        };
        let mut next = due();
        loop {
            timer.sleep_until(next).await;
            match due() {
                later if later > next => next = later,
                _ => return,
            }
        }
    }

    /// Completes once there was no activity for `limit()`, which is evaluated at each
    /// wake-up of the timer. Cancel-safe.
    pub(crate) async fn idle_for(&self, limit: impl Fn(&Self) -> Duration) {
        self.stalled_or_blocked(limit, Duration::MAX, Duration::MAX)
            .await;
    }

    /// Completes once there was no activity for `limit()`, or the socket has accepted no
    /// bytes for `blocked` without a break, whatever was received meanwhile. A blocked
    /// socket is noticed at the next wake-up of the timer, `limit()` later at most.
    ///
    /// The timer wakes up each `check_interval` at least. So a limit that becomes shorter
    /// is obeyed in time unless it is shorter than that. Cancel-safe.
    pub(crate) async fn stalled_or_blocked(
        &self,
        limit: impl Fn(&Self) -> Duration,
        blocked: Duration,
        check_interval: Duration,
    ) {
        loop {
            let last_activity = Duration::from_millis(self.0.last_activity.load(Relaxed));
            let now = Instant::now();
            let left = (self.0.created_at + last_activity + limit(self))
                .saturating_duration_since(now)
                .min(blocked.saturating_sub(self.blocked()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep_until(now + left.min(check_interval)).await;
        }
    }
}

impl Default for ActivityTracker {
    fn default() -> Self {
        Self::new()
    }
}

/// The guard of an exchange in progress.
#[derive(Debug)]
pub(crate) struct InFlight(ActivityTracker);

impl InFlight {
    /// Leaves the exchange open for ever. The connection is closing, and must not be taken for
    /// idle before it has closed.
    pub(crate) fn leave_open(self) {
        std::mem::forget(self);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.record();
        self.0.0.active.fetch_sub(1, Relaxed);
    }
}

/// A body that records activity with every frame and at its end.
pub(crate) type ActivityBody = FilteredBody<ActivityFilter>;

/// The filter of an [`ActivityBody`].
#[derive(Debug)]
pub(crate) struct ActivityFilter(ActivityTracker);

impl ActivityBody {
    /// Wraps `body`, whose frames count as activity of `activity`.
    pub(crate) fn new(body: Body, activity: ActivityTracker) -> Self {
        Self {
            body,
            filter: ActivityFilter(activity),
        }
    }
}

impl BodyFilter for ActivityFilter {
    type Data = Bytes;

    fn poll_frame(&mut self, body: &mut Body, cx: &mut Context<'_>) -> PolledFrame {
        let polled = Pin::new(body).poll_frame(cx);
        if polled.is_ready() {
            self.0.record();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn idle_tracker_ends_at_the_limit() {
        let start = Instant::now();
        ActivityTracker::new().idle_for(|_| LIMIT).await;
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn activity_postpones_the_timeout() {
        let activity = ActivityTracker::new();
        let start = Instant::now();
        tokio::join!(activity.idle_for(|_| LIMIT), async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            activity.record();
        });
        assert_eq!(start.elapsed().as_secs(), 110);
    }

    #[tokio::test(start_paused = true)]
    async fn limit_that_becomes_shorter_is_obeyed_in_time() {
        let (activity, start) = (ActivityTracker::new(), Instant::now());
        let (busy, idle) = (10 * LIMIT, LIMIT / 10);
        let limit = |activity: &ActivityTracker| {
            if activity.is_active() { busy } else { idle }
        };
        let exchange = activity.begin_exchange();
        let stalled = activity.stalled_or_blocked(limit, Duration::MAX, idle);
        tokio::join!(stalled, async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            drop(exchange);
        });
        assert_eq!(start.elapsed().as_secs(), 56);
    }

    #[tokio::test(start_paused = true)]
    async fn timer_is_reused_by_several_trackers() {
        let mut timer = LazyTimer::default();
        let start = Instant::now();
        for _ in 0..3 {
            let activity = ActivityTracker::new();
            tokio::join!(activity.idle_for_with(&mut timer, LIMIT), async {
                tokio::time::sleep(Duration::from_secs(50)).await;
                activity.record();
            });
        }
        assert_eq!(start.elapsed().as_secs(), 330);
    }
}
