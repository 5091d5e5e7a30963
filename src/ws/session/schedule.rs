//! When a session next has something to do by itself: one timer for all of it.

use std::time::Duration;

use tokio::time::Instant;

use super::Settings;

#[derive(Debug)]
pub(super) struct Schedule {
    ping_interval: Duration,
    silence_timeout: Duration,
    recheck_interval: Duration,
    ping_at: Instant,
    silent_at: Instant,
    recheck_at: Instant,
    stop_at: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        let ping_interval = settings.ping_interval.get();
        let silence_timeout = settings.silence_timeout.get();
        let recheck_interval = settings.recheck_interval.get();
        Self {
            ping_at: now + jitter(ping_interval),
            silent_at: now + silence_timeout,
            recheck_at: now + jitter(recheck_interval),
            stop_at: None,
            ping_interval,
            silence_timeout,
            recheck_interval,
        }
    }

    /// The client gave a sign of life.
    pub(super) fn record_activity(&mut self) {
        self.silent_at = Instant::now() + self.silence_timeout;
    }

    /// Ends the session at a random moment within `spread`.
    pub(super) fn stop_within(&mut self, spread: Duration) {
        self.stop_at = Some(Instant::now() + spread.mul_f64(fastrand::f64()));
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        let next = self.ping_at.min(self.silent_at).min(self.recheck_at);
        self.stop_at.map_or(next, |at| at.min(next))
    }

    pub(super) fn must_stop(&self, now: Instant) -> bool {
        self.stop_at.is_some_and(|at| at <= now)
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.silent_at <= now
    }

    pub(super) fn take_ping(&mut self, now: Instant) -> bool {
        take(&mut self.ping_at, now, self.ping_interval)
    }

    pub(super) fn take_revalidation(&mut self, now: Instant) -> bool {
        take(&mut self.recheck_at, now, self.recheck_interval)
    }
}

/// Whether `at` is due; if so it is put off by about `interval`.
fn take(at: &mut Instant, now: Instant, interval: Duration) -> bool {
    let due = *at <= now;
    if due {
        *at = now + jitter(interval);
    }
    due
}

/// Between four fifths of `interval` and all of it, so that sessions that began
/// together do not act together.
fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(0.8 + 0.2 * fastrand::f64())
}
