//! Send progress: whether the client reads what it is sent. A connection with any
//! activity is alive, but one of its HTTP/2 streams may stall for ever with a closed
//! window, and the stream would hold its buffers and permits for as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::ActivityTracker;
use crate::runtime::lazy_timer::LazyTimer;

/// The send state of a connection, a part of its [`ActivityTracker`]. Times are in
/// milliseconds since the tracker was created.
///
/// Stuck chunks are found without a list of all chunks. Time is divided into periods, and
/// each unsent chunk counts in the period of its last step. A chunk that still counts in
/// the previous period when the current one is over has not moved for a whole period.
/// Two counters are enough, since a new period begins only when the previous one has no
/// chunk left.
#[derive(Debug, Default)]
pub(super) struct SendState {
    /// The time since when the socket accepts nothing, plus one; 0 while it accepts.
    blocked_since: AtomicU64,
    /// The sum of all earlier times in which the socket accepted nothing.
    blocked_for: AtomicU64,
    /// Unsent chunks by the period of their last step.
    unsent: [AtomicUsize; 2],
    /// The index in `unsent` of the current period.
    period: AtomicUsize,
    /// The beginning of the current period, in writable time.
    period_began: AtomicU64,
}

impl ActivityTracker {
    /// Records whether the socket accepted bytes, from the result of a write or a flush.
    pub(crate) fn note_send<T>(&self, polled: &Poll<T>) {
        if polled.is_pending() {
            self.block();
        } else {
            self.unblock();
        }
    }

    /// Records that the socket accepts no more bytes for now.
    fn block(&self) {
        if self.0.sending.blocked_since.load(Relaxed) == 0 {
            let since = self.elapsed() + 1;
            self.0.sending.blocked_since.store(since, Relaxed);
        }
    }

    /// Records that the socket has accepted bytes.
    fn unblock(&self) {
        let sending = &self.0.sending;
        if sending.blocked_since.load(Relaxed) > 0 {
            let blocked = u64::try_from(self.blocked().as_millis()).unwrap_or(u64::MAX);
            sending.blocked_for.fetch_add(blocked, Relaxed);
            sending.blocked_since.store(0, Relaxed);
        }
    }

    /// Returns whether hyper holds a chunk of a response that has not been written yet.
    pub(crate) fn has_unsent(&self) -> bool {
        let unsent = &self.0.sending.unsent;
        unsent.iter().any(|chunks| chunks.load(Relaxed) > 0)
    }

    /// Returns for how long the socket has accepted nothing; zero if no write is waiting.
    pub(crate) fn blocked(&self) -> Duration {
        match self.0.sending.blocked_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.elapsed() + 1).saturating_sub(since)),
        }
    }

    /// Returns the milliseconds in which the socket accepted bytes. This clock stops while
    /// the socket accepts nothing, since no stream can make progress then, and no single
    /// stream is at fault.
    fn writable_time(&self) -> u64 {
        let blocked = u64::try_from(self.blocked().as_millis()).unwrap_or(u64::MAX);
        let blocked_before = self.0.sending.blocked_for.load(Relaxed);
        self.elapsed()
            .saturating_sub(blocked_before)
            .saturating_sub(blocked)
    }

    /// Returns whether some chunk has made no progress for `limit`. Detection takes up to
    /// twice that time. Must be called at least once in each `limit`, since the call also
    /// begins new periods.
    pub(crate) fn has_stuck_chunk(&self, limit: Duration) -> bool {
        let (sending, now) = (&self.0.sending, self.writable_time());
        let age = now.saturating_sub(sending.period_began.load(Relaxed));
        if Duration::from_millis(age) < limit {
            return false;
        }
        let previous = 1 - sending.period.load(Relaxed);
        if sending.unsent[previous].load(Relaxed) > 0 {
            return true;
        }
        // The previous period has no chunk left, so its counter serves the new one.
        sending.period.store(previous, Relaxed);
        sending.period_began.store(now, Relaxed);
        false
    }
}

/// Measures for how long the client has not read one response. It sees an HTTP/2 stream
/// where [`ActivityTracker`] sees the whole connection.
///
/// A step is progress of the response: `STEP_BYTES` written, or a first chunk that waits.
#[derive(Debug)]
pub(crate) struct SendClock {
    activity: ActivityTracker,
    /// Chunks that have not been written yet.
    unsent: AtomicUsize,
    /// Bytes written since the last step.
    bytes_since_step: AtomicUsize,
    /// The time of the last step, in the connection's writable time.
    last_step: AtomicU64,
    has_expired: AtomicBool,
}

impl SendClock {
    /// Creates the clock of a response on the connection that `activity` tracks.
    pub(crate) fn new(activity: ActivityTracker) -> Self {
        Self {
            activity,
            unsent: AtomicUsize::new(0),
            bytes_since_step: AtomicUsize::new(0),
            last_step: AtomicU64::new(0),
            has_expired: AtomicBool::new(false),
        }
    }

    /// Wraps `bytes` of the response; they count as unsent until the chunk is dropped.
    pub(crate) fn chunk(self: &Arc<Self>, bytes: Bytes) -> Chunk {
        // Nothing was waiting, so the client is not late with anything yet.
        if self.unsent.fetch_add(1, Relaxed) == 0 {
            self.record_step();
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

    /// Returns whether the response was aborted because the client did not read it.
    pub(crate) fn has_expired(&self) -> bool {
        self.has_expired.load(Relaxed)
    }

    /// Completes when chunks have waited for `limit` of writable time without a step: the
    /// client has read neither all of them nor 1 KiB. Cancel-safe.
    ///
    /// Nothing wakes the task when a first chunk arrives. The task that polls this also
    /// polls the response, so it runs whenever it makes a chunk.
    pub(crate) fn poll_expired(
        &self,
        timer: &mut SendTimer,
        limit: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while self.unsent.load(Relaxed) > 0 {
            let due = *timer.due.get_or_insert_with(|| Instant::now() + limit);
            std::task::ready!(timer.timer.poll_until(due, cx));
            timer.due = None;
            let last_step = self.last_step.load(Relaxed);
            let stalled_ms = self.activity.writable_time().saturating_sub(last_step);
            let left = limit.saturating_sub(Duration::from_millis(stalled_ms));
            if left.is_zero() {
                self.has_expired.store(true, Relaxed);
                return Poll::Ready(());
            }
            // `left` does not shrink while the socket is blocked, so a lower bound keeps
            // the timer from firing all the time.
            let next = left.max(limit / 8).max(MIN_WAIT);
            timer.due = Some(Instant::now() + next);
        }
        Poll::Pending
    }

    fn record_step(&self) {
        self.bytes_since_step.store(0, Relaxed);
        let now = self.activity.writable_time();
        self.last_step.store(now, Relaxed);
    }
}

/// The timer of one [`SendClock`]. It is set when a chunk waits and not reset when the
/// chunk has been written; when it fires, the chunk is usually long gone.
#[derive(Debug, Default)]
pub(crate) struct SendTimer {
    timer: LazyTimer,
    due: Option<Instant>,
}

/// Bytes of a response that have not been written yet. hyper drops the chunk when it has
/// written them all.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Bytes,
    /// The period of its last step, an index in `SendState::unsent`.
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
        let written = self.clock.bytes_since_step.fetch_add(count, Relaxed) + count;
        if written < STEP_BYTES {
            return;
        }
        self.clock.record_step();
        self.clock.activity.record();
        // The chunk has moved, so it counts in the current period from now on.
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

/// Bytes that a client must read to restart the clock of its response. They are few,
/// because a hundred streams that share a narrow connection must all make a step within
/// the time of one. A client that reads just that much holds no more than its per-client
/// limits allow, and buffering keeps the application from waiting for it.
const STEP_BYTES: usize = 1024;
/// The shortest time between two checks of a clock.
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
    async fn chunk_not_sent_expires_at_the_limit() {
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
    async fn client_reading_a_step_per_period_does_not_expire() {
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
    async fn client_reading_byte_by_byte_expires() {
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
    async fn stream_clock_pauses_while_the_socket_is_blocked() {
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
    async fn blocked_socket_ends_a_connection_despite_client_activity() {
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
            () = activity.stalled_or_blocked(|_| LIMIT, LIMIT, LIMIT) => {}
            () = talk => {}
        }
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
