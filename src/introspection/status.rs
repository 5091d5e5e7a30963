//! The health and status reports of the edge.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Introspection, LARAVEL, format_time, process};
use crate::tls::{CertificateExpiry, Urgency};
use crate::upstream::{Health, ServerHealth};

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
    listeners: Vec<String>,
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
    /// Whether the edge sends the server's requests to other servers.
    marked_down: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl From<Health> for UpstreamStatus {
    fn from(health: Health) -> Self {
        let failure = health.failure();
        let several = health.servers.len() > 1;
        let servers = health.servers.into_iter().filter(|_| several);
        Self {
            healthy: failure.is_none(),
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
            marked_down: health.skipped,
            failure: health.failure,
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
        let upstreams: BTreeMap<_, _> = self
            .upstreams
            .iter()
            .map(|(name, upstream)| (name.clone(), UpstreamStatus::from(upstream.health())))
            .collect();
        let config = self.about.config.as_ref();
        let recent = self.recent.read().into_iter().map(|event| RecentError {
            at: format_time(event.at),
            level: event.level,
            event: event.id,
            message: event.text,
        });
        let laravel = self
            .upstreams
            .get(LARAVEL)
            .map(|laravel| laravel.health().into());
        Status {
            healthy: problems.is_empty(),
            problems,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.about.start.elapsed().as_secs(),
            config_file: config.map(|path| path.display().to_string()),
            config_loaded_at: format_time(self.about.loaded),
            listeners: self
                .about
                .listeners
                .iter()
                .map(ToString::to_string)
                .collect(),
            connections: self.connections.in_use(),
            sessions: self.sessions.count(),
            rooms: self.rooms.count(),
            queued_events: self.sessions.queued_events().0,
            requests: totals.requests,
            broadcasts: self.rooms.published().broadcast.get(),
            deliveries: totals.deliveries,
            upstream: laravel,
            upstreams,
            certificates: self.certificates.expiry(),
            reloads: totals.reloads,
            rejections: totals.rejections,
            limits_exceeded: totals.limits_exceeded,
            sessions_closed: totals.sessions_closed,
            memory_bytes: process::memory(),
            open_files: process::open_files(),
            recent_errors: recent.collect(),
        }
    }

    /// Returns one sentence for each problem that someone must solve: an unreachable
    /// upstream, a certificate that expires soon, too much memory in use.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.reasons_not_ready();
        if self.load.is_overloaded() {
            let problem = "memory use is over limits.max_memory: new connections wait";
            problems.push(problem.to_owned());
        }
        for certificate in self.certificates.expiry() {
            if certificate.urgency() != Urgency::None {
                let names = certificate.names.join(", ");
                problems.push(match (&certificate.problem, certificate.days_left) {
                    (Some(problem), _) => format!("the certificate for {names} {problem}"),
                    (None, 1) => format!("the certificate for {names} has 1 day left"),
                    (None, days) => format!("the certificate for {names} has {days} days left"),
                });
            }
        }
        problems
    }

    /// Returns the reasons for which a load balancer should send requests elsewhere: a shutdown
    /// or an unreachable upstream. Empty if the edge is ready.
    pub(crate) fn reasons_not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.drain.is_stopping() {
            reasons.push("the edge is stopping".to_owned());
        }
        for (name, upstream) in &self.upstreams {
            if let Some(failure) = upstream.health().failure() {
                reasons.push(format!("upstream {name} is unreachable: {failure}"));
            }
        }
        reasons
    }
}
