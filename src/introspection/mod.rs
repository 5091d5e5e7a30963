//! The reports of the edge about its own state: status, rooms and users on the Unix socket for
//! Laravel and the system administrator, and metrics for monitoring.

mod explain;
mod process;
mod receipts;
mod status;
mod text_format;
mod totals;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::time::Instant;

pub(crate) use self::process::{ProcessMetrics, memory};
pub(crate) use self::receipts::{NoReceipts, ReceiptReport};
pub(crate) use self::text_format::TextFormat;
pub(crate) use self::totals::{Totals, TotalsReader};
use crate::auth::{Authorizer, Invalidations};
use crate::core::ids::{RoomName, UserId};
use crate::limit::{ConcurrencyLimit, OverloadMonitor};
use crate::logging::RecentEvents;
use crate::rooms::{PresentUser, Rooms, Sessions};
use crate::runtime::drain::Drain;
use crate::tls::Certificates;
use crate::upstream::Upstream;

/// The state of the process under one configuration, to report on and to act on.
#[derive(Debug)]
pub(crate) struct Introspection {
    /// All rooms with their members.
    pub(crate) rooms: Arc<Rooms>,
    /// All open WebSocket sessions.
    pub(crate) sessions: Sessions,
    /// The latest invalidation of the cached decisions of each user and token.
    pub(crate) invalidations: Invalidations,
    /// The cached decisions of Laravel about users and rooms.
    pub(crate) access: Authorizer,
    /// The upstreams by name, with their health.
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// The names of the upstreams without which the edge is not ready.
    pub(crate) required_upstreams: Vec<String>,
    /// The metrics of the whole edge.
    pub(crate) metrics: Registry,
    /// The reader of the counts that the status reports.
    pub(crate) totals: TotalsReader,
    /// The TLS certificates in use.
    pub(crate) certificates: Arc<Certificates>,
    /// The limit of open connections, which also counts them.
    pub(crate) connections: ConcurrencyLimit,
    /// The state of the shutdown.
    pub(crate) drain: Drain,
    /// The last warnings and errors of the log.
    pub(crate) recent: RecentEvents,
    /// The start and the configuration of the process.
    pub(crate) about: StartContext,
    /// The load monitor: whether memory use is over `limits.max_memory`.
    pub(crate) load: OverloadMonitor,
}

/// The start times, configuration file and listeners of the process.
#[derive(Clone, Debug)]
pub(crate) struct StartContext {
    /// The configuration file; `None` if the configuration has another source.
    pub(crate) config: Option<PathBuf>,
    /// The time at which the configuration in use was loaded.
    pub(crate) loaded: SystemTime,
    /// The addresses of the listeners.
    pub(crate) listeners: ListenAddresses,
    /// The error of the last reload of the configuration, if it failed.
    pub(crate) reload_failure: ReloadFailure,
    /// The start of the process on the monotonic clock, for the uptime.
    pub(crate) start: Instant,
}

/// The addresses of the listeners, by the key that names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenAddresses {
    /// `server.listen`: TLS.
    pub(crate) https: Vec<SocketAddr>,
    /// `server.redirect_listen`: plain HTTP.
    pub(crate) redirect: Vec<SocketAddr>,
    /// `admin.listen`: monitoring.
    pub(crate) admin: Vec<SocketAddr>,
}

/// The error of the last reload of the configuration, if it failed. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReloadFailure(Arc<Mutex<Option<String>>>);

impl ReloadFailure {
    /// Records the result of a reload: its error, or `None` if it succeeded.
    pub(crate) fn record(&self, error: Option<String>) {
        *self.0.lock() = error;
    }

    fn read(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// The name of the Laravel application among the upstreams.
pub(crate) const LARAVEL: &str = "laravel";

impl Introspection {
    /// Returns the users in `room`, including those within their grace period after a
    /// disconnect, and the number of its sessions.
    pub(crate) fn occupants(&self, room: &RoomName) -> Occupants {
        let (users, sessions) = self.rooms.occupants(room);
        Occupants {
            room: room.to_string(),
            sessions,
            users: users.iter().map(Occupant::from).collect(),
        }
    }

    /// Returns the 200 rooms with the most sessions, the largest first, and the number of all
    /// rooms.
    pub(crate) fn rooms(&self) -> RoomList {
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
pub(crate) struct RoomList {
    /// The number of all rooms, including those that are not listed.
    total: usize,
    rooms: Vec<ListedRoom>,
}

#[derive(Debug, Serialize)]
struct ListedRoom {
    room: String,
    sessions: usize,
}

/// The response to `GET /rooms/{kind}/{name}`.
#[derive(Debug, Serialize)]
pub(crate) struct Occupants {
    room: String,
    sessions: usize,
    users: Vec<Occupant>,
}

#[derive(Debug, Serialize)]
struct Occupant {
    user_id: UserId,
    user_name: String,
}

impl From<&PresentUser> for Occupant {
    fn from(user: &PresentUser) -> Self {
        Self {
            user_id: user.id().clone(),
            user_name: user.name().to_string(),
        }
    }
}

/// Formats a time by RFC 3339, in UTC with whole seconds.
fn format_time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

const MAX_ROOMS: usize = 200;
