//! The health of each server: passive, by the failures of requests, and active, by health
//! checks. A server with too many failures is marked down, and then half-open.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The health of an app's servers.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// The health of each server, in the order of the configuration.
    pub(crate) servers: Vec<ServerHealth>,
}

/// The health of one server.
#[derive(Clone, Debug)]
pub(crate) struct ServerHealth {
    /// The server's address, as configured.
    pub(crate) server: String,
    /// The error of the last request or health check, if that failed.
    pub(crate) failure: Option<String>,
    /// Whether the server is marked down, so that requests go to others.
    pub(crate) skipped: bool,
}

impl Health {
    /// Returns the errors of all servers, or `None` if one of them responds.
    pub(crate) fn failure(&self) -> Option<String> {
        let failures: Option<Vec<_>> = self
            .servers
            .iter()
            .map(|server| server.failure.as_deref())
            .collect();
        Some(failures?.join("; "))
    }
}

/// The failures of one server and what follows from them.
#[derive(Debug)]
pub(super) struct HealthState {
    /// Whether `failures` holds any. Every request checks it, and usually needs no lock then.
    ///
    /// It is written under the lock of `failures` and read without it: a reader may see a
    /// change late and send one request more, or one less, to the server.
    has_failures: AtomicBool,
    failures: Mutex<Failures>,
    max_fails: u32,
    fail_timeout: Duration,
}

#[derive(Debug, Default)]
struct Failures {
    /// The number of requests that failed in a row.
    failed_requests: u32,
    request_error: Option<String>,
    /// The end of `fail_timeout` after too many failed requests; then the server is
    /// half-open.
    until: Option<Instant>,
    /// A request has the half-open slot.
    is_half_open: bool,
    /// The number of health checks that failed in a row.
    failed_checks: u32,
    check_error: Option<String>,
}

/// The state of a server's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// The server gets requests.
    Healthy,
    /// The server's `fail_timeout` has passed: one request tests it.
    HalfOpen,
    /// The server is marked down, or a request is testing it.
    Unhealthy,
}

impl HealthState {
    /// Creates a healthy state. The server is marked down for `fail_timeout` after
    /// `max_fails` failed requests in a row.
    pub(super) fn new(max_fails: u32, fail_timeout: Duration) -> Self {
        Self {
            has_failures: AtomicBool::new(false),
            failures: Mutex::default(),
            max_fails,
            fail_timeout,
        }
    }

    /// Returns whether the server is healthy, half-open or marked down.
    pub(super) fn availability(&self) -> Availability {
        if self.has_failures.load(Relaxed) {
            self.failures.lock().availability()
        } else {
            Availability::Healthy
        }
    }

    /// Takes the half-open slot and returns whether it was free. The caller that got it must
    /// free it by [`HealthState::end_half_open`].
    pub(super) fn begin_half_open(&self) -> bool {
        let mut failures = self.failures.lock();
        let is_free = failures.availability() == Availability::HalfOpen;
        failures.is_half_open |= is_free;
        is_free
    }

    /// Frees the half-open slot.
    pub(super) fn end_half_open(&self) {
        self.failures.lock().is_half_open = false;
    }

    /// Records a response to a request. Returns whether that marks the server up, so far as
    /// failed requests had marked it down.
    pub(super) fn record_response(&self) -> bool {
        if !self.has_failures.load(Relaxed) {
            return false;
        }
        let mut failures = self.failures.lock();
        (failures.failed_requests, failures.request_error) = (0, None);
        self.has_failures.store(failures.failed_checks > 0, Relaxed);
        failures.until.take().is_some()
    }

    /// Records a request that failed, and not by its client's fault. Returns whether that
    /// marks the server down.
    pub(super) fn record_failure(&self, cause: String) -> bool {
        let mut failures = self.failures.lock();
        self.has_failures.store(true, Relaxed);
        failures.failed_requests = failures.failed_requests.saturating_add(1);
        failures.request_error = Some(cause);
        if failures.failed_requests < self.max_fails {
            return false;
        }
        let until = Instant::now() + self.fail_timeout;
        failures.until.replace(until).is_none()
    }

    /// Records a successful health check, which also clears the failures of requests.
    /// Returns whether that marks the server up.
    pub(super) fn record_probe_success(&self) -> bool {
        if !self.has_failures.load(Relaxed) {
            return false;
        }
        let mut failures = self.failures.lock();
        let was_skipped = failures.is_skipped();
        *failures = Failures {
            // The request that holds the slot frees it itself.
            is_half_open: failures.is_half_open,
            ..Failures::default()
        };
        self.has_failures.store(false, Relaxed);
        was_skipped
    }

    /// Records a failed health check. Returns whether that marks the server down.
    pub(super) fn record_probe_failure(&self, cause: String) -> bool {
        let mut failures = self.failures.lock();
        self.has_failures.store(true, Relaxed);
        failures.failed_checks = failures.failed_checks.saturating_add(1);
        failures.check_error = Some(cause);
        failures.failed_checks == MAX_FAILED_CHECKS
    }

    /// Returns the last error, if the failures are not cleared yet, and whether the server
    /// is marked down.
    pub(super) fn last_failure(&self) -> (Option<String>, bool) {
        let failures = self.failures.lock();
        let failure = failures
            .request_error
            .clone()
            .or_else(|| failures.check_error.clone());
        (failure, failures.is_skipped())
    }
}

impl Failures {
    fn is_skipped(&self) -> bool {
        self.until.is_some() || self.failed_checks >= MAX_FAILED_CHECKS
    }

    fn availability(&self) -> Availability {
        if self.failed_checks >= MAX_FAILED_CHECKS {
            return Availability::Unhealthy;
        }
        match self.until {
            None => Availability::Healthy,
            Some(until) if self.is_half_open || Instant::now() < until => Availability::Unhealthy,
            Some(_) => Availability::HalfOpen,
        }
    }
}

/// The number of health checks in a row that mark a server down. A single lost one does not.
const MAX_FAILED_CHECKS: u32 = 2;

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
    async fn server_failing_repeatedly_is_skipped_until_a_trial_succeeds() {
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
    async fn failed_trial_skips_the_server_and_cancelled_trial_does_not() {
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
    async fn health_check_failing_twice_skips_a_server_until_it_passes() {
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
