//! What requests and probes tell about one server, and whether it is skipped.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How the servers of an app are.
#[derive(Clone, Debug)]
pub struct Health {
    /// Each server, in the order of the configuration.
    pub servers: Vec<ServerHealth>,
}

/// How one server is.
#[derive(Clone, Debug)]
pub struct ServerHealth {
    /// Its address, as configured.
    pub server: String,
    /// What its last request or probe failed with, if that failed.
    pub failure: Option<String>,
    /// Whether others are asked in its place.
    pub skipped: bool,
}

impl Health {
    /// Why the app does not answer, if none of its servers does.
    pub fn failure(&self) -> Option<String> {
        let failures = self.servers.iter().map(|server| server.failure.as_deref());
        let all: Vec<_> = failures.collect::<Option<_>>()?;
        Some(all.join("; "))
    }
}

/// What is known about one server.
#[derive(Debug)]
pub(super) struct HealthState {
    /// Whether something is noted against it: the usual "no" costs no lock.
    doubtful: AtomicBool,
    notes: Mutex<Failures>,
    max_failures: u32,
    fail_timeout: Duration,
}

#[derive(Debug, Default)]
struct Failures {
    /// Requests that failed in a row.
    failures: u32,
    cause: Option<String>,
    /// Until when it is skipped after too many of them.
    until: Option<Instant>,
    /// A request is finding out whether it is well again.
    trial: bool,
    /// Probes that failed in a row.
    bad_probes: u32,
    probe_cause: Option<String>,
}

/// Whether a request may go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    Healthy,
    /// Its time is over: one request may find out.
    HalfOpen,
    Unhealthy,
}

impl HealthState {
    pub(super) fn new(max_failures: u32, fail_timeout: Duration) -> Self {
        Self {
            doubtful: AtomicBool::new(false),
            notes: Mutex::default(),
            max_failures,
            fail_timeout,
        }
    }

    pub(super) fn availability(&self) -> Availability {
        if self.doubtful.load(Relaxed) {
            self.notes.lock().availability()
        } else {
            Availability::Healthy
        }
    }

    /// Takes the one place for a trial. Whoever gets it gives it back by
    /// [`HealthState::end_half_open`].
    pub(super) fn begin_half_open(&self) -> bool {
        let mut notes = self.notes.lock();
        let free = notes.availability() == Availability::HalfOpen;
        notes.trial |= free;
        free
    }

    pub(super) fn end_half_open(&self) {
        self.notes.lock().trial = false;
    }

    /// A request was answered. True if the server was skipped until now.
    pub(super) fn record_response(&self) -> bool {
        if !self.doubtful.load(Relaxed) {
            return false;
        }
        let mut notes = self.notes.lock();
        (notes.failures, notes.cause) = (0, None);
        self.doubtful.store(notes.bad_probes > 0, Relaxed);
        notes.until.take().is_some()
    }

    /// A request failed, and not by its client's fault. True if the server is
    /// skipped from now on.
    pub(super) fn record_failure(&self, cause: String) -> bool {
        let mut notes = self.notes.lock();
        self.doubtful.store(true, Relaxed);
        notes.failures = notes.failures.saturating_add(1);
        notes.cause = Some(cause);
        if notes.failures < self.max_failures {
            return false;
        }
        let until = Instant::now() + self.fail_timeout;
        notes.until.replace(until).is_none()
    }

    /// A probe was answered. It ends what requests have brought about, too. True
    /// if the server was skipped until now.
    pub(super) fn record_probe_success(&self) -> bool {
        if !self.doubtful.load(Relaxed) {
            return false;
        }
        let mut notes = self.notes.lock();
        let skipped = notes.is_skipped();
        *notes = Failures {
            trial: notes.trial,
            ..Failures::default()
        };
        self.doubtful.store(false, Relaxed);
        skipped
    }

    /// A probe failed. True if the server is skipped from now on.
    pub(super) fn record_probe_failure(&self, cause: String) -> bool {
        let mut notes = self.notes.lock();
        self.doubtful.store(true, Relaxed);
        notes.bad_probes = notes.bad_probes.saturating_add(1);
        notes.probe_cause = Some(cause);
        notes.bad_probes == MAX_BAD_PROBES
    }

    /// The last failure, and whether the server is skipped for it.
    pub(super) fn last_failure(&self) -> (Option<String>, bool) {
        let notes = self.notes.lock();
        let failure = notes.cause.clone().or_else(|| notes.probe_cause.clone());
        (failure, notes.is_skipped())
    }
}

impl Failures {
    fn is_skipped(&self) -> bool {
        self.until.is_some() || self.bad_probes >= MAX_BAD_PROBES
    }

    fn availability(&self) -> Availability {
        if self.bad_probes >= MAX_BAD_PROBES {
            return Availability::Unhealthy;
        }
        match self.until {
            None => Availability::Healthy,
            Some(until) if self.trial || Instant::now() < until => Availability::Unhealthy,
            Some(_) => Availability::HalfOpen,
        }
    }
}

/// One lost probe is no reason to skip a server.
const MAX_BAD_PROBES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> HealthState {
        HealthState::new(3, Duration::from_secs(10))
    }

    fn fail(record: &HealthState, times: usize) {
        for _ in 0..times {
            record.record_failure("down".to_owned());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_skip_a_server_until_one_trial_succeeds() {
        let record = record();
        fail(&record, 2);
        assert!(!record.record_response());
        fail(&record, 2);
        assert_eq!(record.availability(), Availability::Healthy);
        assert!(record.record_failure("down".to_owned()));
        assert_eq!(record.availability(), Availability::Unhealthy);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(record.availability(), Availability::HalfOpen);
        assert!(record.begin_half_open());
        assert!(!record.begin_half_open(), "two trials at once");
        assert_eq!(record.availability(), Availability::Unhealthy);
        assert!(record.record_response());
        record.end_half_open();
        assert_eq!(record.availability(), Availability::Healthy);
        assert_eq!(record.last_failure(), (None, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_fails_skips_it_again_and_one_that_is_left_does_not_block() {
        let record = record();
        fail(&record, 3);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(record.begin_half_open());
        fail(&record, 1);
        record.end_half_open();
        assert_eq!(record.availability(), Availability::Unhealthy);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(record.begin_half_open());
        record.end_half_open();
        assert_eq!(record.availability(), Availability::HalfOpen);
    }

    #[tokio::test(start_paused = true)]
    async fn two_bad_probes_skip_a_server_and_one_good_one_ends_it() {
        let record = record();
        assert!(!record.record_probe_failure("500".to_owned()));
        assert_eq!(record.availability(), Availability::Healthy);
        assert!(record.record_probe_failure("500".to_owned()));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(record.availability(), Availability::Unhealthy);
        record.record_response();
        assert_eq!(
            record.availability(),
            Availability::Unhealthy,
            "a request is no probe"
        );
        assert!(record.record_probe_success());
        fail(&record, 3);
        assert!(record.record_probe_success());
        assert_eq!(record.availability(), Availability::Healthy);
    }
}
