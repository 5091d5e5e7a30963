//! The health and status reports of the edge.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::{Introspection, LARAVEL, format_time, process};
use crate::rooms::HistoryUsage;
use crate::tls::{AcmeReport, CertificateExpiry, Urgency};
use crate::upstream::{Health, ServerHealth, Upstream};

/// The response to `GET /status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// Whether `problems` is empty.
    healthy: bool,
    /// One sentence for each problem that someone must solve.
    problems: Vec<String>,
    version: &'static str,
    uptime_seconds: u64,
    /// The configuration file; `None` if the configuration has another source.
    config_file: Option<String>,
    /// The time at which the current configuration was loaded, by RFC 3339.
    config_loaded_at: String,
    /// The addresses of `server.listen`.
    listeners: Vec<SocketAddr>,
    /// The addresses of `server.redirect_listen`.
    redirect_listeners: Vec<SocketAddr>,
    /// The addresses of `admin.listen`.
    admin_listeners: Vec<SocketAddr>,
    connections: usize,
    /// Open WebSocket sessions.
    sessions: usize,
    /// Rooms with at least one session.
    rooms: usize,
    /// Events in the send queues of all sessions.
    queued_events: usize,
    /// Requests since the start.
    requests: u64,
    /// Events that Laravel has published since the start.
    broadcasts: u64,
    /// Events written to sessions since the start.
    deliveries: u64,
    /// The Laravel upstream, which is also in `upstreams`.
    upstream: Option<UpstreamStatus>,
    /// All upstreams by name.
    upstreams: BTreeMap<String, UpstreamStatus>,
    certificates: Vec<CertificateExpiry>,
    /// The certificate that the edge obtains itself; `None` if ACME is off.
    acme: Option<AcmeReport>,
    /// The kept events; `None` if the history is off.
    history: Option<HistoryStatus>,
    /// Reloads since the start, by result.
    reloads: BTreeMap<&'static str, u64>,
    /// Rejected connections and requests since the start, by reason.
    rejections: BTreeMap<&'static str, u64>,
    /// The number of times that clients exceeded each limit, enforced or not.
    limits_exceeded: BTreeMap<&'static str, u64>,
    /// Sessions that have ended since the start, by reason.
    sessions_closed: BTreeMap<&'static str, u64>,
    /// The resident memory in bytes.
    memory_bytes: Option<u64>,
    open_files: Option<u64>,
    /// The last warnings and errors of the log, the newest at the end.
    recent_errors: Vec<RecentError>,
}

#[derive(Debug, Serialize)]
struct UpstreamStatus {
    healthy: bool,
    /// Whether a request or a check has had a result yet.
    contacted: bool,
    /// Whether the edge is not ready without it.
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// The state of each server; empty if there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<ServerStatus>,
}

#[derive(Debug, Serialize)]
struct ServerStatus {
    server: String,
    healthy: bool,
    contacted: bool,
    /// Whether the edge sends the server's requests to other servers.
    marked_down: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl UpstreamStatus {
    fn new(health: Health, required: bool) -> Self {
        let failure = health.failure();
        let contacted = health.is_contacted();
        let several = health.servers.len() > 1;
        let servers = health.servers.into_iter().filter(|_| several);
        Self {
            healthy: failure.is_none(),
            contacted,
            required,
            failure,
            servers: servers.map(ServerStatus::from).collect(),
        }
    }
}

impl From<ServerHealth> for ServerStatus {
    fn from(health: ServerHealth) -> Self {
        Self {
            server: health.server,
            healthy: health.failure.is_none(),
            contacted: health.is_contacted,
            marked_down: health.skipped,
            failure: health.failure,
        }
    }
}

#[derive(Debug, Serialize)]
struct HistoryStatus {
    /// The number of events in memory.
    events: usize,
    memory_bytes: usize,
    /// The position of the newest event.
    position: String,
    /// The lost sessions whose clients may return without a position.
    parked_sessions: usize,
    /// The event log; `None` if the history ends with the process.
    log: Option<LogStatus>,
}

#[derive(Debug, Serialize)]
struct LogStatus {
    directory: String,
    bytes: u64,
    /// The number of events that were delivered but not stored.
    unstored: u64,
}

impl From<HistoryUsage> for HistoryStatus {
    fn from(usage: HistoryUsage) -> Self {
        Self {
            events: usage.events,
            memory_bytes: usage.memory_bytes,
            position: usage.position.to_string(),
            parked_sessions: usage.parked_sessions,
            log: usage.log.map(|log| LogStatus {
                directory: log.directory.display().to_string(),
                bytes: log.bytes,
                unstored: log.unstored,
            }),
        }
    }
}

#[derive(Debug, Serialize)]
struct RecentError {
    at: String,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'static str>,
    message: String,
}

impl Introspection {
    /// Returns the health of the edge, its current load, and its counters since the start.
    pub(crate) fn status(&self) -> Status {
        let (problems, totals) = (self.problems(), self.totals.read());
        let config = self.about.config.as_ref();
        let listeners = self.about.listeners.clone();
        let recent = self.recent.read().into_iter().map(|event| RecentError {
            at: format_time(event.at),
            level: event.level,
            event: event.id,
            message: event.text,
        });
        Status {
            healthy: problems.is_empty(),
            problems,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.about.start.elapsed().as_secs(),
            config_file: config.map(|path| path.display().to_string()),
            config_loaded_at: format_time(self.about.loaded),
            listeners: listeners.https,
            redirect_listeners: listeners.redirect,
            admin_listeners: listeners.admin,
            connections: self.connections.in_use(),
            sessions: self.sessions.count(),
            rooms: self.rooms.count(),
            queued_events: self.sessions.queued_events().0,
            requests: totals.requests,
            broadcasts: self.rooms.published().broadcast.get(),
            deliveries: totals.deliveries,
            upstream: self.upstream_status(LARAVEL),
            upstreams: self
                .upstreams
                .keys()
                .filter_map(|name| Some((name.clone(), self.upstream_status(name)?)))
                .collect(),
            certificates: self.certificates.expiry(),
            acme: self.certificates.acme(),
            history: self.rooms.history_usage().map(HistoryStatus::from),
            reloads: totals.reloads,
            rejections: totals.rejections,
            limits_exceeded: totals.limits_exceeded,
            sessions_closed: totals.sessions_closed,
            memory_bytes: process::memory(),
            open_files: process::open_files(),
            recent_errors: recent.collect(),
        }
    }

    fn upstream_status(&self, name: &str) -> Option<UpstreamStatus> {
        let health = self.upstreams.get(name)?.health();
        Some(UpstreamStatus::new(health, self.is_required(name)))
    }

    /// Returns one sentence for each problem that someone must solve: an unreachable
    /// upstream, a certificate that is missing or expires soon, files that the edge could not
    /// load, too little memory or disk space.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self.stop().into_iter().collect();
        for (name, upstream) in &self.upstreams {
            problems.extend(unreachable(name, upstream));
            if let Some(failure) = upstream.spool_failure() {
                problems.push(format!("upstream {name}: {failure}"));
            }
        }
        if self.load.is_overloaded() {
            let problem = "memory use is over limits.max_memory: new connections wait";
            problems.push(problem.to_owned());
        }
        problems.extend(self.unwritable_log());
        problems.extend(self.no_certificate());
        problems.extend(self.certificates.acme_problem());
        let files = self.certificates.file_problem();
        problems
            .extend(files.map(|error| format!("new certificate files are not in use: {error}")));
        let reload = self.about.reload_failure.read();
        problems.extend(reload.map(|error| {
            // A report of mistakes in the configuration has many lines; `check` prints them.
            let first = error.lines().next().unwrap_or_default();
            format!("the last reload failed: {first}")
        }));
        problems.extend(self.certificates.expiry().iter().filter_map(expiry_problem));
        problems
    }

    /// Returns the reasons for which a load balancer should send requests elsewhere: a shutdown,
    /// no certificate at all, or a required upstream that is unreachable or has not been
    /// contacted yet. Empty if the edge is ready.
    pub(crate) fn reasons_not_ready(&self) -> Vec<String> {
        let mut reasons: Vec<_> = self.stop().into_iter().collect();
        reasons.extend(self.no_certificate());
        let required = self
            .upstreams
            .iter()
            .filter(|(name, _)| self.is_required(name));
        for (name, upstream) in required {
            reasons.extend(unreachable(name, upstream));
            if !upstream.health().is_contacted() {
                reasons.push(format!("upstream {name} has not been contacted yet"));
            }
        }
        reasons
    }

    fn is_required(&self, upstream: &str) -> bool {
        self.required_upstreams.iter().any(|name| name == upstream)
    }

    fn stop(&self) -> Option<String> {
        let is_stopping = self.drain.is_stopping();
        is_stopping.then(|| "the edge is stopping".to_owned())
    }

    fn unwritable_log(&self) -> Option<String> {
        let log = self.rooms.history_usage()?.log?;
        let directory = log.directory.display();
        if log.is_stopped {
            return Some(format!(
                "events are not stored: the log in {directory} has stopped; restart the edge"
            ));
        }
        log.is_failing
            .then(|| format!("events are not stored in {directory}: {}", log.failure))
    }

    fn no_certificate(&self) -> Option<String> {
        let is_empty = self.certificates.is_empty();
        is_empty.then(|| "there is no certificate: every TLS handshake fails".to_owned())
    }
}

fn unreachable(name: &str, upstream: &Upstream) -> Option<String> {
    let failure = upstream.health().failure()?;
    Some(format!("upstream {name} is unreachable: {failure}"))
}

/// Returns a sentence about a certificate that expires soon or is not valid.
fn expiry_problem(certificate: &CertificateExpiry) -> Option<String> {
    if certificate.urgency() == Urgency::None {
        return None;
    }
    let names = certificate.names.join(", ");
    if let Some(problem) = &certificate.problem {
        return Some(format!("the certificate for {names} {problem}"));
    }
    let days = match certificate.days_left {
        1 => "1 day left".to_owned(),
        days => format!("{days} days left"),
    };
    Some(match &certificate.ends_with {
        None => format!("the certificate for {names} has {days}"),
        Some(subject) => {
            format!("the certificate for {names} has {days}: \"{subject}\" in its chain ends then")
        }
    })
}
