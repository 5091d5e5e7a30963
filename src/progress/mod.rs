//! "When did anything last move here?": the one clock behind every stall and
//! idle deadline, so that a slow peer who moves is never cut and one who does
//! not is never kept.

mod noise;
mod paced;
mod sending;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

pub use self::noise::{Counted, Noise};
pub use self::paced::{Pace, Paced, TooSlow};
use self::sending::Sending;
pub use self::sending::{Chunk, SendClock, SendTimer};
use crate::alarm::Alarm;
use crate::body::{self, Body};

/// Notes movement; clones share one clock.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    born: Instant,
    /// Milliseconds from `born` to the last movement.
    moved: AtomicU64,
    /// How often something moved.
    movements: AtomicU64,
    /// Exchanges under way.
    active: AtomicUsize,
    /// Exchanges given up in a row, none of which came to its end.
    abandoned: AtomicUsize,
    sending: Sending,
}

impl Progress {
    /// A clock that has just moved.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            born: Instant::now(),
            moved: AtomicU64::new(0),
            movements: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            sending: Sending::default(),
        }))
    }

    /// Something moved.
    pub fn tick(&self) {
        self.0.movements.fetch_add(1, Relaxed);
        self.0.moved.store(self.elapsed(), Relaxed);
    }

    /// Milliseconds since the clock was made.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How often something has moved.
    pub fn movements(&self) -> u64 {
        self.0.movements.load(Relaxed)
    }

    /// An exchange came to its end, or was given up by the client.
    pub fn ended(&self, whole: bool) {
        match whole {
            true => self.0.abandoned.store(0, Relaxed),
            false => drop(self.0.abandoned.fetch_add(1, Relaxed)),
        }
    }

    /// How many the client has given up since one last came to its end.
    pub fn abandoned(&self) -> usize {
        self.0.abandoned.load(Relaxed)
    }

    /// An exchange begins; it ends when the guard is dropped.
    pub fn begin(&self) -> InFlight {
        self.0.active.fetch_add(1, Relaxed);
        self.tick();
        InFlight(self.clone())
    }

    /// Whether an exchange is under way.
    pub fn is_active(&self) -> bool {
        self.0.active.load(Relaxed) > 0
    }

    /// Returns once nothing has moved for `limit`, by a timer that may have served
    /// before. Cancel-safe.
    pub async fn stalled_by(&self, alarm: &mut Alarm, limit: Duration) {
        let due = || self.0.born + Duration::from_millis(self.0.moved.load(Relaxed)) + limit;
        let mut next = due();
        loop {
            alarm.ring(next).await;
            match due() {
                later if later > next => next = later,
                _ => return,
            }
        }
    }

    /// Returns once nothing has moved for `limit()`, which is asked again at
    /// each wake-up. Cancel-safe.
    pub async fn stalled(&self, limit: impl Fn(&Self) -> Duration) {
        self.stalled_or_blocked(limit, Duration::MAX).await;
    }

    /// The same, and once the socket has taken nothing for `blocked` at a stretch,
    /// whatever moves the other way. Seen at a wake-up after `limit()` at the latest.
    pub async fn stalled_or_blocked(&self, limit: impl Fn(&Self) -> Duration, blocked: Duration) {
        loop {
            let moved = Duration::from_millis(self.0.moved.load(Relaxed));
            let now = Instant::now();
            let left = (self.0.born + moved + limit(self)).saturating_duration_since(now);
            let left = left.min(blocked.saturating_sub(self.blocked()));
            if left.is_zero() {
                return;
            }
            tokio::time::sleep_until(now + left).await;
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct InFlight(Progress);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.tick();
        self.0.0.active.fetch_sub(1, Relaxed);
    }
}

/// A body that ticks a [`Progress`] with every frame and at its end.
#[derive(Debug)]
pub struct Ticking {
    inner: Body,
    progress: Progress,
}

impl Ticking {
    /// Wraps `inner`.
    pub fn new(inner: Body, progress: Progress) -> Self {
        Self { inner, progress }
    }
}

impl hyper::body::Body for Ticking {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_ready() {
            self.progress.tick();
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
        Progress::new().stalled(|_| LIMIT).await;
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn movement_puts_the_end_off() {
        let progress = Progress::new();
        let start = Instant::now();
        tokio::join!(progress.stalled(|_| LIMIT), async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            progress.tick();
        });
        assert_eq!(start.elapsed().as_secs(), 110);
    }

    #[tokio::test(start_paused = true)]
    async fn one_alarm_serves_many() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        for _ in 0..3 {
            let progress = Progress::new();
            tokio::join!(progress.stalled_by(&mut alarm, LIMIT), async {
                tokio::time::sleep(Duration::from_secs(50)).await;
                progress.tick();
            });
        }
        assert_eq!(start.elapsed().as_secs(), 330);
    }
}
