//! What the edge tells about itself: to Laravel and the sysadmin on the Unix
//! socket, and to monitoring.

mod explain;
mod exposition;
mod process;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use tokio::time::Instant;

pub use self::explain::Explanation;
pub use self::process::memory;
pub use self::status::Status;
use crate::auth::{Authorizer, Invalidations, User};
use crate::core::ids::{RoomName, UserId};
use crate::limit::{ConcurrencyLimit, OverloadMonitor};
use crate::logging::RecentEvents;
use crate::metrics::{Counter, Metrics};
use crate::rooms::{Rooms, Sessions};
use crate::runtime::drain::Drain;
use crate::tls::Certificates;
use crate::upstream::Upstream;

/// What there is to see of the process, and to act on.
#[derive(Debug)]
pub struct Introspection {
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// All sessions.
    pub sessions: Sessions,
    /// Since when what is known about somebody is in doubt.
    pub invalidations: Invalidations,
    /// What is known of who may see what.
    pub access: Authorizer,
    /// The apps, as the edge sees them.
    pub upstreams: BTreeMap<String, Upstream>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// The certificates.
    pub certificates: Arc<Certificates>,
    /// Connections at once.
    pub connections: ConcurrencyLimit,
    /// Whether the process stops.
    pub drain: Drain,
    /// What the log last complained of.
    pub recent: RecentEvents,
    /// Lines of the log that nobody will read.
    pub lost_lines: Arc<Counter>,
    /// How it was started.
    pub about: StartContext,
    /// Held by each configuration that is still in use, and by the process.
    pub used: Arc<()>,
    /// Whether it carries too much.
    pub load: OverloadMonitor,
}

/// How the process was started, and with what.
#[derive(Clone, Debug)]
pub struct StartContext {
    /// The configuration's file; none if it came from elsewhere.
    pub config: Option<PathBuf>,
    /// When the configuration in use was read.
    pub loaded: SystemTime,
    /// Where TLS is spoken.
    pub listeners: Vec<SocketAddr>,
    /// When the process began.
    pub start: Instant,
    /// The same by the clock of that moment.
    pub began: SystemTime,
}

/// The name of Laravel among the upstreams.
pub const LARAVEL: &str = "laravel";

impl Introspection {
    /// Returns the users in a room.
    pub fn occupants(&self, room: RoomName) -> Occupants {
        let (users, sessions) = self.rooms.occupants(room);
        Occupants {
            room: room.to_string(),
            sessions,
            users: users.iter().map(Occupant::from).collect(),
        }
    }

    /// Returns the 200 rooms with most sessions, the largest first.
    pub fn rooms(&self) -> RoomList {
        let mut rooms = self.rooms.list();
        let total = rooms.len();
        rooms.sort_by_key(|(name, sessions)| (std::cmp::Reverse(*sessions), name.to_string()));
        rooms.truncate(MAX_ROOMS);
        let rooms = rooms.into_iter().map(|(name, sessions)| ListedRoom {
            room: name.to_string(),
            sessions,
        });
        RoomList {
            total,
            rooms: rooms.collect(),
        }
    }
}

/// The response to `GET /rooms`.
#[derive(Debug, Serialize)]
pub struct RoomList {
    /// All rooms, also those that are not listed.
    total: usize,
    rooms: Vec<ListedRoom>,
}

#[derive(Debug, Serialize)]
struct ListedRoom {
    room: String,
    sessions: usize,
}

/// The response to `GET /rooms/ticket/{id}`.
#[derive(Debug, Serialize)]
pub struct Occupants {
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

/// A time as RFC 3339 writes it.
fn format_time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

const MAX_ROOMS: usize = 200;
