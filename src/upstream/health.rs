//! The health of each server: passive, by the failures of requests, and active, by health
//! checks. A server with too many failures is marked down, and then half-open.
//!
//! Without health checks the edge connects to a server at start, and again as long as a failure
//! is reported: a report must not outlive its cause because nobody visits the site.

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
    /// Whether a request or a check has had a result yet.
    pub(crate) is_contacted: bool,
    /// The error of the last request or check, if that failed.
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

    /// Returns whether it is known if the app responds: one server does, or all have been
    /// contacted.
    pub(crate) fn is_contacted(&self) -> bool {
        let responds = |server: &ServerHealth| server.is_contacted && server.failure.is_none();
        let mut servers = self.servers.iter();
        servers.clone().any(responds) || servers.all(|server| server.is_contacted)
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
    /// Whether there has been any result. It only ever becomes true.
    is_contacted: AtomicBool,
    failures: Mutex<Failures>,
    max_fails: u32,
    fail_timeout: Duration,
}

#[derive(Debug, Default)]
struct Failures {
    /// The number of requests that failed in a row.
    failed_requests: u32,
    /// The last error of an exchange, and its time.
    request_error: Option<(String, Instant)>,
    /// The last error of connecting, for a request or a check.
    connect_error: Option<String>,
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
            is_contacted: AtomicBool::new(false),
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
        self.record_contact();
        if !self.has_failures.load(Relaxed) {
            return false;
        }
        let mut failures = self.failures.lock();
        failures.failed_requests = 0;
        (failures.request_error, failures.connect_error) = (None, None);
        self.has_failures.store(failures.failed_checks > 0, Relaxed);
        failures.until.take().is_some()
    }

    /// Records a request that failed, and not by its client's fault. `is_connect_error` says
    /// that the server did not accept it. Returns whether that marks the server down.
    pub(super) fn record_failure(&self, cause: String, is_connect_error: bool) -> bool {
        let mut failures = self.failures.lock();
        self.has_failures.store(true, Relaxed);
        self.record_contact();
        failures.failed_requests = failures.failed_requests.saturating_add(1);
        if is_connect_error {
            failures.connect_error = Some(cause);
        } else {
            failures.request_error = Some((cause, Instant::now()));
        }
        if failures.failed_requests < self.max_fails {
            return false;
        }
        let until = Instant::now() + self.fail_timeout;
        failures.until.replace(until).is_none()
    }

    /// Returns whether a connection attempt would show something new: there has been no result
    /// yet, or a failure is reported.
    pub(super) fn needs_connect_check(&self) -> bool {
        !self.is_contacted.load(Relaxed) || self.last_failure().0.is_some()
    }

    /// Records that the server has accepted a connection of a check, which clears the report of
    /// failures that this disproves, or that are [`REPORT_TTL`] old. It does not mark the server
    /// up: a request must do that. Returns whether it has cleared an error of connecting.
    pub(super) fn record_connect_success(&self) -> bool {
        self.record_contact();
        let mut failures = self.failures.lock();
        let is_old = |(_, at): &(String, Instant)| at.elapsed() >= REPORT_TTL;
        if failures.request_error.as_ref().is_some_and(is_old) {
            failures.request_error = None;
        }
        failures.connect_error.take().is_some()
    }

    /// Records that the server has not accepted a connection of a check. It does not mark the
    /// server down. Returns whether that is new.
    pub(super) fn record_connect_failure(&self, cause: String) -> bool {
        let mut failures = self.failures.lock();
        self.has_failures.store(true, Relaxed);
        self.record_contact();
        failures.connect_error.replace(cause).is_none()
    }

    fn record_contact(&self) {
        // Read first: every response comes here, and a write would claim the cache line.
        if !self.is_contacted.load(Relaxed) {
            self.is_contacted.store(true, Relaxed);
        }
    }

    /// Returns whether there has been any result.
    pub(super) fn is_contacted(&self) -> bool {
        self.is_contacted.load(Relaxed)
    }

    /// Records a successful health check, which also clears the failures of requests.
    /// Returns whether that marks the server up.
    pub(super) fn record_probe_success(&self) -> bool {
        self.record_contact();
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
        self.record_contact();
        failures.failed_checks = failures.failed_checks.saturating_add(1);
        failures.check_error = Some(cause);
        failures.failed_checks == MAX_FAILED_CHECKS
    }

    /// Returns the last error, if the failures are not cleared yet, and whether the server
    /// is marked down.
    pub(super) fn last_failure(&self) -> (Option<String>, bool) {
        let failures = self.failures.lock();
        let request_error = failures.request_error.as_ref().map(|(cause, _)| cause);
        let connect_error = failures.connect_error.as_ref();
        let failure = connect_error
            .or(request_error)
            .or(failures.check_error.as_ref());
        (failure.cloned(), failures.is_skipped())
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
/// The time for which a failed exchange is reported although the server accepts connections: a
/// server may accept them and respond to none.
const REPORT_TTL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> HealthState {
        HealthState::new(3, Duration::from_secs(10))
    }

    fn fail(record: &HealthState, times: usize) {
        for _ in 0..times {
            record.record_failure("down".to_owned(), false);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn server_failing_repeatedly_is_skipped_until_a_trial_succeeds() {
        let record = record();
        fail(&record, 2);
        assert!(!record.record_response());
        fail(&record, 2);
        assert_eq!(record.availability(), Availability::Healthy);
        assert!(record.record_failure("down".to_owned(), false));
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

    #[test]
    fn app_is_contacted_once_a_server_responds_or_all_have_failed() {
        let server = |is_contacted, failure: Option<&str>| ServerHealth {
            server: "unix:/a".to_owned(),
            is_contacted,
            failure: failure.map(ToOwned::to_owned),
            skipped: false,
        };
        let (unknown, up, down) = (
            server(false, None),
            server(true, None),
            server(true, Some("refused")),
        );
        for (servers, is_contacted, has_failed) in [
            (vec![&unknown], false, false),
            (vec![&up, &unknown], true, false),
            (vec![&down, &unknown], false, false),
            (vec![&down, &up], true, false),
            (vec![&down, &down], true, true),
        ] {
            let health = Health {
                servers: servers.into_iter().cloned().collect(),
            };
            assert_eq!(health.is_contacted(), is_contacted, "{health:?}");
            assert_eq!(health.failure().is_some(), has_failed, "{health:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connect_check_clears_what_it_disproves_and_old_reports() {
        let record = record();
        assert!(record.needs_connect_check() && !record.is_contacted());
        assert!(record.record_connect_failure("refused".to_owned()));
        assert!(!record.record_connect_failure("refused".to_owned()));
        assert!(record.needs_connect_check() && record.is_contacted());
        assert_eq!(record.last_failure().0.unwrap(), "refused");
        assert_eq!(record.availability(), Availability::Healthy);
        assert!(record.record_connect_success());
        assert!(!record.needs_connect_check());
        // A server that accepts connections may still respond to none.
        fail(&record, 3);
        assert!(!record.record_connect_success());
        assert_eq!(record.last_failure(), (Some("down".to_owned()), true));
        tokio::time::advance(REPORT_TTL).await;
        record.record_connect_success();
        assert_eq!(record.last_failure(), (None, true));
        // Only a request marks it up.
        assert_eq!(record.availability(), Availability::HalfOpen);
        assert!(record.record_response());
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
