//! The deadlines of one session: ping, receipt, silence, revalidation and stop. One timer serves
//! all.
//! The sessions of both protocols have them.

use std::time::Duration;

use tokio::time::Instant;

use super::Settings;
use crate::rooms::RECEIPT_INTERVAL;

/// The deadlines. The session's settings have the intervals by which they recur.
#[derive(Debug)]
pub(in crate::ws) struct Schedule {
    ping_at: Instant,
    /// The time to look for broadcasts that the client has yet to confirm.
    receipt_at: Option<Instant>,
    silent_at: Instant,
    /// None for a session that cannot revalidate its rights.
    revalidate_at: Option<Instant>,
    /// The start of the last periodic revalidation.
    revalidated_at: Option<Instant>,
    stop_at: Option<Instant>,
}

impl Schedule {
    /// Starts all intervals now, with jitter.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            revalidate_at: Some(Instant::now() + jitter(settings.revalidate_interval.get())),
            ..Self::without_revalidation(settings)
        }
    }

    /// Starts all intervals but that of revalidation now, with jitter.
    pub(in crate::ws) fn without_revalidation(settings: &Settings) -> Self {
        let now = Instant::now();
        Self {
            ping_at: now + jitter(settings.ping_interval.get()),
            receipt_at: None,
            silent_at: now + settings.pong_timeout.get(),
            revalidate_at: None,
            revalidated_at: None,
            stop_at: None,
        }
    }

    /// Records a sign of life of the client.
    pub(in crate::ws) fn record_activity(&mut self, settings: &Settings) {
        self.silent_at = Instant::now() + settings.pong_timeout.get();
    }

    /// Sets the end of the session to a random moment within `spread`.
    pub(in crate::ws) fn stop_within(&mut self, spread: Duration) {
        self.stop_at = Some(Instant::now() + spread.mul_f64(fastrand::f64()));
    }

    /// Returns the earliest deadline.
    pub(in crate::ws) fn next(&self) -> Instant {
        let optional = [self.revalidate_at, self.stop_at, self.receipt_at];
        let soonest = self.ping_at.min(self.silent_at);
        optional.into_iter().flatten().fold(soonest, Instant::min)
    }

    /// Returns whether the session must end because the edge stops.
    pub(in crate::ws) fn must_stop(&self, now: Instant) -> bool {
        self.stop_at.is_some_and(|at| at <= now)
    }

    /// Returns whether the client has given no sign of life for too long.
    pub(in crate::ws) fn is_silent(&self, now: Instant) -> bool {
        self.silent_at <= now
    }

    /// Returns whether a ping is due, and schedules the next.
    pub(in crate::ws) fn take_ping(&mut self, now: Instant, settings: &Settings) -> bool {
        take(&mut self.ping_at, now, settings.ping_interval.get())
    }

    /// Plans a look for broadcasts that the client has yet to confirm.
    pub(super) fn plan_receipt(&mut self) {
        let at = Instant::now() + RECEIPT_INTERVAL;
        self.receipt_at.get_or_insert(at);
    }

    /// Returns whether that look is due.
    pub(super) fn take_receipt(&mut self, now: Instant) -> bool {
        self.receipt_at.take_if(|at| *at <= now).is_some()
    }

    /// Makes the next periodic revalidation due at once, or a while after the last one: other
    /// clients behind the same address can request this.
    pub(super) fn hasten_revalidation(&mut self) {
        let now = Instant::now();
        let last = self.revalidated_at;
        let earliest = last.map_or(now, |at| now.max(at + MIN_REVALIDATION_INTERVAL));
        self.revalidate_at = self.revalidate_at.map(|at| at.min(earliest));
    }

    /// Returns whether a periodic revalidation is due, and schedules the next.
    pub(super) fn take_revalidation(&mut self, now: Instant, settings: &Settings) -> bool {
        let interval = settings.revalidate_interval.get();
        let revalidate_at = self.revalidate_at.as_mut();
        let is_due = revalidate_at.is_some_and(|at| take(at, now, interval));
        if is_due {
            self.revalidated_at = Some(now);
        }
        is_due
    }
}

/// The minimum time between the starts of a periodic revalidation and of one that is due early.
const MIN_REVALIDATION_INTERVAL: Duration = Duration::from_secs(30);

/// Returns whether `at` is due; if so, moves it to about `interval` from now.
fn take(at: &mut Instant, now: Instant, interval: Duration) -> bool {
    let due = *at <= now;
    if due {
        *at = now + jitter(interval);
    }
    due
}

/// Returns 80 to 100 % of `interval`, so that sessions that began together do not act
/// together.
fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(0.8 + 0.2 * fastrand::f64())
}
