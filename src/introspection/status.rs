//! Whether it is well, and what there is to know at a glance.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Introspection, LARAVEL, format_time, process};
use crate::tls::{CertificateExpiry, Urgency};
use crate::upstream::{Health, ServerHealth};

/// `GET /status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Whether nobody need do anything.
    well: bool,
    /// What somebody must look at.
    troubles: Vec<String>,
    version: &'static str,
    uptime_seconds: u64,
    config: Option<String>,
    config_loaded: String,
    listeners: Vec<String>,
    connections: usize,
    sessions: usize,
    rooms: usize,
    /// Events that wait for clients to read them.
    queued: usize,
    /// Since the start.
    requests: u64,
    broadcasts: u64,
    deliveries: u64,
    upstream: Option<UpstreamStatus>,
    /// All of them, by name.
    upstreams: BTreeMap<String, UpstreamStatus>,
    certificates: Vec<CertificateExpiry>,
    /// Times that the configuration was read again, by result.
    reloads: BTreeMap<&'static str, u64>,
    /// Connections and requests that were refused, by reason.
    refusals: BTreeMap<&'static str, u64>,
    /// Times that clients were over a limit, by its key; refused or not.
    over_limits: BTreeMap<&'static str, u64>,
    /// Ended sessions by reason.
    closes: BTreeMap<&'static str, u64>,
    memory_bytes: Option<u64>,
    open_files: Option<u64>,
    /// The last warnings and errors of the log.
    complaints: Vec<RecentError>,
}

#[derive(Debug, Serialize)]
struct UpstreamStatus {
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// One for each of several servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<ServerStatus>,
}

#[derive(Debug, Serialize)]
struct ServerStatus {
    server: String,
    healthy: bool,
    skipped: bool,
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
            skipped: health.skipped,
            failure: health.failure,
        }
    }
}

#[derive(Debug, Serialize)]
struct RecentError {
    at: String,
    level: &'static str,
    text: String,
}

impl Introspection {
    /// How the edge is.
    pub fn status(&self) -> Status {
        let troubles = self.problems();
        let upstreams: BTreeMap<_, _> = self
            .upstreams
            .iter()
            .map(|(name, upstream)| (name.clone(), UpstreamStatus::from(upstream.health())))
            .collect();
        let config = self.about.config.as_ref();
        let complaints = self.recent.read().into_iter().map(|note| RecentError {
            at: format_time(note.at),
            level: note.level,
            text: note.text,
        });
        let laravel = self
            .upstreams
            .get(LARAVEL)
            .map(|laravel| laravel.health().into());
        Status {
            well: troubles.is_empty(),
            troubles,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.about.start.elapsed().as_secs(),
            config: config.map(|path| path.display().to_string()),
            config_loaded: format_time(self.about.loaded),
            listeners: self
                .about
                .listeners
                .iter()
                .map(ToString::to_string)
                .collect(),
            connections: self.connections.in_use(),
            sessions: self.sessions.count(),
            rooms: self.rooms.count(),
            queued: self.sessions.queued_events().0,
            requests: self.metrics.requests.count(),
            broadcasts: self
                .metrics
                .publications
                .read()
                .get("broadcast")
                .copied()
                .unwrap_or(0),
            deliveries: self.metrics.deliveries.read(),
            upstream: laravel,
            upstreams,
            certificates: self.certificates.expiry(),
            reloads: self.metrics.reloads.read(),
            refusals: self.metrics.all_rejections(),
            over_limits: self.metrics.over_limits.read(),
            closes: self.metrics.closes.read(),
            memory_bytes: process::memory(),
            open_files: process::open_files(),
            complaints: complaints.collect(),
        }
    }

    /// What somebody must look at: an app that does not answer, a certificate
    /// that ends.
    pub fn problems(&self) -> Vec<String> {
        let mut troubles = self.reasons_not_ready();
        if self.load.is_overloaded() {
            let trouble = "more memory than limits.max_memory: new connections wait";
            troubles.push(trouble.to_owned());
        }
        for certificate in self.certificates.expiry() {
            if certificate.urgency() != Urgency::None {
                let names = certificate.names.join(", ");
                let days = certificate.days_left;
                troubles.push(match &certificate.flaw {
                    Some(flaw) => format!("the certificate for {names} {flaw}"),
                    None => format!("the certificate for {names} has {days} days left"),
                });
            }
        }
        troubles
    }

    /// Why requests should rather go elsewhere; none if they are welcome.
    pub fn reasons_not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.drain.is_stopping() {
            reasons.push("the edge is stopping".to_owned());
        }
        for (name, upstream) in &self.upstreams {
            if let Some(failure) = upstream.health().failure() {
                reasons.push(format!("{name} does not answer: {failure}"));
            }
        }
        reasons
    }
}
