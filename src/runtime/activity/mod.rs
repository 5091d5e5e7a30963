//! "When did anything last move here?": the one clock behind every stall and
//! idle deadline, so that a slow peer who moves is never cut and one who does
//! not is never kept.

mod flood_guard;
mod min_rate;
mod sending;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

pub use self::flood_guard::{ControlFlood, FloodGuard};
pub use self::min_rate::{MinRate, MinRateBody, TooSlow};
use self::sending::Sending;
pub use self::sending::{Chunk, SendClock, SendTimer};
use crate::core::body::{self, Body};
use crate::runtime::lazy_timer::LazyTimer;

/// Notes movement; clones share one clock.
#[derive(Clone, Debug)]
pub struct ActivityTracker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    created_at: Instant,
    /// Milliseconds from `created_at` to the last movement.
    last_activity: AtomicU64,
    /// How often something moved.
    records: AtomicU64,
    /// Exchanges under way.
    active: AtomicUsize,
    /// Exchanges given up in a row, none of which came to its end.
    abandoned: AtomicUsize,
    sending: Sending,
}

impl ActivityTracker {
    /// A clock that has just moved.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            created_at: Instant::now(),
            last_activity: AtomicU64::new(0),
            records: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            sending: Sending::default(),
        }))
    }

    /// Something moved.
    pub fn record(&self) {
        self.0.records.fetch_add(1, Relaxed);
        self.0.last_activity.store(self.elapsed(), Relaxed);
    }

    /// Milliseconds since the clock was made.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.created_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How often something has moved.
    pub fn records(&self) -> u64 {
        self.0.records.load(Relaxed)
    }

    /// An exchange came to its end, or was given up by the client.
    pub fn record_exchange_end(&self, whole: bool) {
        if whole {
            self.0.abandoned.store(0, Relaxed)
        } else {
            self.0.abandoned.fetch_add(1, Relaxed);
        }
    }

    /// How many the client has given up since one last came to its end.
    pub fn abandoned_exchanges(&self) -> usize {
        self.0.abandoned.load(Relaxed)
    }

    /// An exchange begins; it ends when the guard is dropped.
    pub fn begin_exchange(&self) -> InFlight {
        self.0.active.fetch_add(1, Relaxed);
        self.record();
        InFlight(self.clone())
    }

    /// Whether an exchange is under way.
    pub fn is_active(&self) -> bool {
        self.0.active.load(Relaxed) > 0
    }

    /// Returns once nothing has moved for `limit`, by a timer that may have served
    /// before. Cancel-safe.
    pub async fn idle_for_with(&self, timer: &mut LazyTimer, limit: Duration) {
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

    /// Returns once nothing has moved for `limit()`, which is asked again at
    /// each wake-up. Cancel-safe.
    pub async fn idle_for(&self, limit: impl Fn(&Self) -> Duration) {
        self.stalled_or_blocked(limit, Duration::MAX).await;
    }

    /// The same, and once the socket has taken nothing for `blocked` at a stretch,
    /// whatever moves the other way. Seen at a wake-up after `limit()` at the latest.
    pub async fn stalled_or_blocked(&self, limit: impl Fn(&Self) -> Duration, blocked: Duration) {
        loop {
            let moved = Duration::from_millis(self.0.last_activity.load(Relaxed));
            let now = Instant::now();
            let left = (self.0.created_at + moved + limit(self)).saturating_duration_since(now);
            let left = left.min(blocked.saturating_sub(self.blocked()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep_until(now + left).await;
        }
    }
}

impl Default for ActivityTracker {
    fn default() -> Self {
        Self::new()
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct InFlight(ActivityTracker);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.record();
        self.0.0.active.fetch_sub(1, Relaxed);
    }
}

/// A body that ticks a [`ActivityTracker`] with every frame and at its end.
#[derive(Debug)]
pub struct ActivityBody {
    inner: Body,
    activity: ActivityTracker,
}

impl ActivityBody {
    /// Wraps `inner`.
    pub fn new(inner: Body, activity: ActivityTracker) -> Self {
        Self { inner, activity }
    }
}

impl hyper::body::Body for ActivityBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_ready() {
            self.activity.record();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_limit() {
        let start = Instant::now();
        ActivityTracker::new().idle_for(|_| LIMIT).await;
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn movement_puts_the_end_off() {
        let activity = ActivityTracker::new();
        let start = Instant::now();
        tokio::join!(activity.idle_for(|_| LIMIT), async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            activity.record();
        });
        assert_eq!(start.elapsed().as_secs(), 110);
    }

    #[tokio::test(start_paused = true)]
    async fn one_alarm_serves_many() {
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
