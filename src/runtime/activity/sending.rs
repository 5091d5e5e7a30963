//! What a client is sent and does not take. A connection on which anything moves is
//! alive, but a stream of it may stand still for ever: its window is closed, and what
//! it holds here stays held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::ActivityTracker;
use crate::runtime::lazy_timer::LazyTimer;

/// The part of a connection's [`ActivityTracker`] that is about sending. Times are in
/// milliseconds since the connection's birth.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Since when the socket takes nothing, plus one; zero while it does.
    blocked_since: AtomicU64,
    /// How long it has taken nothing before, in all.
    blocked_for: AtomicU64,
    /// Chunks that have not left, by the period of their last step.
    unsent: [AtomicUsize; 2],
    /// Which of the two is the current period.
    period: AtomicUsize,
    /// When it began, in writable time.
    period_began: AtomicU64,
}

impl ActivityTracker {
    /// Notes what came of a write or a flush.
    pub fn note_send<T>(&self, polled: &Poll<T>) {
        if polled.is_pending() {
            self.block();
        } else {
            self.unblock();
        }
    }

    /// The socket takes no more for now.
    fn block(&self) {
        if self.0.sending.blocked_since.load(Relaxed) == 0 {
            let since = self.elapsed() + 1;
            self.0.sending.blocked_since.store(since, Relaxed);
        }
    }

    /// The socket has taken something.
    fn unblock(&self) {
        let sending = &self.0.sending;
        if sending.blocked_since.load(Relaxed) > 0 {
            let blocked = self.blocked().as_millis();
            let blocked = u64::try_from(blocked).unwrap_or(u64::MAX);
            sending.blocked_for.fetch_add(blocked, Relaxed);
            sending.blocked_since.store(0, Relaxed);
        }
    }

    /// Whether something has been handed over to be sent, and has not left.
    pub fn has_unsent(&self) -> bool {
        let unsent = &self.0.sending.unsent;
        unsent.iter().any(|chunks| chunks.load(Relaxed) > 0)
    }

    /// How long the socket has taken nothing; zero if nothing waits for it.
    pub fn blocked(&self) -> Duration {
        match self.0.sending.blocked_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.elapsed() + 1).saturating_sub(since)),
        }
    }

    /// A clock that stands still while the socket takes nothing: then no stream can
    /// move, and none of them is to blame.
    fn writable_time(&self) -> u64 {
        let blocked = self.blocked().as_millis();
        let blocked = u64::try_from(blocked).unwrap_or(u64::MAX);
        let before = self.0.sending.blocked_for.load(Relaxed);
        self.elapsed()
            .saturating_sub(before)
            .saturating_sub(blocked)
    }

    /// Whether there is a chunk that has not moved for `limit`, twice that at most.
    /// To be asked at least once in each `limit`.
    pub fn has_stuck_chunk(&self, limit: Duration) -> bool {
        let (sending, now) = (&self.0.sending, self.writable_time());
        let age = now.saturating_sub(sending.period_began.load(Relaxed));
        if Duration::from_millis(age) < limit {
            return false;
        }
        let before = 1 - sending.period.load(Relaxed);
        if sending.unsent[before].load(Relaxed) > 0 {
            return true;
        }
        sending.period.store(before, Relaxed);
        sending.period_began.store(now, Relaxed);
        false
    }
}

/// How long the client of one response has left lying what it is sent. It sees a
/// stream of HTTP/2 where [`ActivityTracker`] sees its connection.
#[derive(Debug)]
pub struct SendClock {
    activity: ActivityTracker,
    /// Chunks that have not left.
    unsent: AtomicUsize,
    /// Bytes that left since the last step.
    taken: AtomicUsize,
    /// The last step, in the connection's writable time.
    moved: AtomicU64,
    expired: AtomicBool,
}

impl SendClock {
    /// Of a response on the connection of `activity`.
    pub fn new(activity: ActivityTracker) -> Self {
        Self {
            activity,
            unsent: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            expired: AtomicBool::new(false),
        }
    }

    /// `bytes` that are to be sent, and counted until they have left.
    pub fn chunk(self: &Arc<Self>, bytes: Bytes) -> Chunk {
        if self.unsent.fetch_add(1, Relaxed) == 0 {
            self.step();
        }
        let sending = &self.activity.0.sending;
        let period = sending.period.load(Relaxed);
        sending.unsent[period].fetch_add(1, Relaxed);
        Chunk {
            bytes,
            period,
            clock: Arc::clone(self),
        }
    }

    /// Whether the response was given up because its client did not take it.
    pub fn has_expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    /// Completes when something has been ready for `limit` and the client, whose
    /// socket could take it, has not: neither all of it nor 1 KiB.
    pub fn poll_expired(
        &self,
        timer: &mut SendTimer,
        limit: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while self.unsent.load(Relaxed) > 0 {
            let due = *timer.due.get_or_insert_with(|| Instant::now() + limit);
            std::task::ready!(timer.timer.poll_until(due, cx));
            timer.due = None;
            let moved = self.moved.load(Relaxed);
            let stood = self.activity.writable_time().saturating_sub(moved);
            let left = limit.saturating_sub(Duration::from_millis(stood));
            if left.is_zero() {
                self.expired.store(true, Relaxed);
                return Poll::Ready(());
            }
            // While the socket takes nothing the time that is left stays the same.
            let next = left.max(limit / 8).max(MIN_WAIT);
            timer.due = Some(Instant::now() + next);
        }
        Poll::Pending
    }

    fn step(&self) {
        self.taken.store(0, Relaxed);
        let now = self.activity.writable_time();
        self.moved.store(now, Relaxed);
    }
}

/// The timer of one [`SendClock`]: set once something waits, and looked after when it
/// rings, since mostly what waits has long left.
#[derive(Debug, Default)]
pub struct SendTimer {
    timer: LazyTimer,
    due: Option<Instant>,
}

/// Bytes of a response that have not left yet.
#[derive(Debug)]
pub struct Chunk {
    bytes: Bytes,
    /// The connection's period when it last moved.
    period: usize,
    clock: Arc<SendClock>,
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        let taken = self.clock.taken.fetch_add(count, Relaxed) + count;
        if taken < STEP_BYTES {
            return;
        }
        self.clock.step();
        self.clock.activity.record();
        let sending = &self.clock.activity.0.sending;
        sending.unsent[self.period].fetch_sub(1, Relaxed);
        self.period = sending.period.load(Relaxed);
        sending.unsent[self.period].fetch_add(1, Relaxed);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.clock.unsent.fetch_sub(1, Relaxed);
        self.clock.activity.0.sending.unsent[self.period].fetch_sub(1, Relaxed);
    }
}

/// What a client must take for its clock to begin anew, if there is so much. A hundred
/// streams that share a narrow connection must all come to it in the time that one has,
/// so it is little: what a stream can hold for so few bytes is bounded by its client's
/// shares, and an application does not wait for it that long.
const STEP_BYTES: usize = 1024;
/// Between two looks at a clock.
const MIN_WAIT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::time::{advance, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn clock() -> (ActivityTracker, Arc<SendClock>) {
        let activity = ActivityTracker::new();
        (activity.clone(), Arc::new(SendClock::new(activity)))
    }

    fn chunk(clock: &Arc<SendClock>, bytes: usize) -> Chunk {
        clock.chunk(vec![0; bytes].into())
    }

    /// Seconds until it expires.
    async fn expired(clock: &SendClock) -> u64 {
        let (start, mut timer) = (Instant::now(), SendTimer::default());
        poll_fn(|cx| clock.poll_expired(&mut timer, LIMIT, cx)).await;
        assert!(clock.has_expired());
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn chunk_that_nobody_takes_expires_at_the_limit() {
        let (_, clock) = clock();
        let _chunk = chunk(&clock, 10);
        assert_eq!(expired(&clock).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn response_that_waits_for_its_app_does_not_expire() {
        let (_, clock) = clock();
        let mut timer = SendTimer::default();
        for _ in 0..10 {
            let waiting = chunk(&clock, 10);
            let polled = poll_fn(|cx| clock.poll_expired(&mut timer, LIMIT, cx)).now_or_never();
            assert!(polled.is_none());
            drop(waiting);
            advance(LIMIT * 2).await;
            let polled = poll_fn(|cx| clock.poll_expired(&mut timer, LIMIT, cx)).now_or_never();
            assert!(polled.is_none(), "an app may think");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_takes_a_step_now_and_then_does_not_expire() {
        let (_, clock) = clock();
        let mut taken = chunk(&clock, 10 * STEP_BYTES);
        let slow = async {
            for _ in 0..9 {
                sleep(Duration::from_secs(50)).await;
                taken.advance(STEP_BYTES);
            }
        };
        let (seconds, ()) = tokio::join!(expired(&clock), slow);
        assert_eq!(seconds, 9 * 50 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn small_chunks_count_together() {
        let (_, clock) = clock();
        let slow = async {
            let mut waiting = chunk(&clock, STEP_BYTES / 4);
            for _ in 0..40 {
                sleep(Duration::from_secs(14)).await;
                let next = chunk(&clock, STEP_BYTES / 4);
                waiting.advance(STEP_BYTES / 4);
                waiting = next;
            }
            sleep(LIMIT * 2).await;
        };
        let (seconds, ()) = tokio::join!(expired(&clock), slow);
        assert_eq!(seconds, 40 * 14 + 60);
    }

    #[tokio::test(start_paused = true)]
    async fn drip_expires() {
        let (_, clock) = clock();
        let mut taken = chunk(&clock, STEP_BYTES);
        let drip = async {
            for _ in 0..20 {
                sleep(Duration::from_secs(10)).await;
                taken.advance(1);
            }
        };
        let (seconds, ()) = tokio::join!(expired(&clock), drip);
        assert_eq!(seconds, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn stream_is_not_to_blame_while_the_socket_takes_nothing() {
        let (activity, clock) = clock();
        let _chunk = chunk(&clock, 10);
        let blocked = async {
            sleep(Duration::from_secs(20)).await;
            activity.block();
            sleep(Duration::from_secs(500)).await;
            assert_eq!(activity.blocked().as_secs(), 500);
            activity.unblock();
            assert_eq!(activity.blocked(), Duration::ZERO);
        };
        let (seconds, ()) = tokio::join!(expired(&clock), blocked);
        assert!((560..=580).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn chunk_is_stuck_after_two_periods_at_most() {
        let (activity, clock) = clock();
        sleep(LIMIT / 2).await;
        let mut stuck = chunk(&clock, 2 * STEP_BYTES);
        assert!(!activity.has_stuck_chunk(LIMIT));
        sleep(LIMIT / 2).await;
        assert!(!activity.has_stuck_chunk(LIMIT));
        stuck.advance(STEP_BYTES);
        sleep(LIMIT).await;
        assert!(!activity.has_stuck_chunk(LIMIT), "it has moved");
        sleep(LIMIT).await;
        assert!(activity.has_stuck_chunk(LIMIT));
        drop(stuck);
        assert!(!activity.has_stuck_chunk(LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn blocked_socket_ends_a_connection_that_hears_of_its_client() {
        let activity = ActivityTracker::new();
        activity.block();
        let talk = async {
            loop {
                sleep(Duration::from_secs(10)).await;
                activity.record();
            }
        };
        let start = Instant::now();
        tokio::select! {
            () = activity.stalled_or_blocked(|_| LIMIT, LIMIT) => {}
            () = talk => {}
        }
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
