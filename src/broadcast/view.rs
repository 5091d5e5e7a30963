//! What the edge tells about itself on the broadcast socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use crate::auth::{Doubts, User};
use crate::ids::{RoomName, UserId};
use crate::metrics::Metrics;
use crate::rooms::{Rooms, Sessions};
use crate::tls::{Certificates, Outlook};
use crate::upstream::{Health, ServerHealth, Upstream};

/// What Laravel can see of the process, and act on.
#[derive(Debug)]
pub struct View {
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// All sessions.
    pub sessions: Sessions,
    /// Since when what is known about somebody is in doubt.
    pub doubts: Doubts,
    /// The app, as the edge sees it.
    pub upstream: Upstream,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// The certificates.
    pub certificates: Arc<Certificates>,
    /// When the process began.
    pub start: Instant,
}

/// `GET /status`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    sessions: usize,
    rooms: usize,
    upstream: UpstreamStatus,
    certificates: Vec<Outlook>,
    /// Ended sessions by reason.
    closes: BTreeMap<&'static str, u64>,
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

impl View {
    pub(super) fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.start.elapsed().as_secs(),
            sessions: self.sessions.count(),
            rooms: self.rooms.count(),
            upstream: self.upstream.health().into(),
            certificates: self.certificates.outlook(),
            closes: self.metrics.closes.read(),
        }
    }

    pub(super) fn occupants(&self, room: RoomName) -> Occupants {
        let (users, sessions) = self.rooms.occupants(room);
        Occupants {
            room: room.to_string(),
            sessions,
            users: users.iter().map(Occupant::from).collect(),
        }
    }
}

/// `GET /rooms/ticket/{id}`.
#[derive(Debug, Serialize)]
pub(super) struct Occupants {
    room: String,
    sessions: usize,
    users: Vec<Occupant>,
}

#[derive(Debug, Serialize)]
struct Occupant {
    user_id: UserId,
    user_name: String,
}

impl From<&User> for Occupant {
    fn from(user: &User) -> Self {
        Self {
            user_id: user.id().clone(),
            user_name: user.name().to_string(),
        }
    }
}
