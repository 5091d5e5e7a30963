//! What the edge tells about itself on the broadcast socket.

use serde::Serialize;
use tokio::time::Instant;

use crate::auth::User;
use crate::ids::{RoomName, UserId};
use crate::rooms::{Rooms, Sessions};
use crate::upstream::Upstream;

/// `GET /status`.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    sessions: usize,
    rooms: usize,
    upstream: UpstreamStatus,
}

#[derive(Debug, Serialize)]
struct UpstreamStatus {
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl Status {
    pub(super) fn of(
        rooms: &Rooms,
        sessions: &Sessions,
        upstream: &Upstream,
        start: Instant,
    ) -> Self {
        let failure = upstream.health().failure();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: start.elapsed().as_secs(),
            sessions: sessions.count(),
            rooms: rooms.count(),
            upstream: UpstreamStatus {
                healthy: failure.is_none(),
                failure,
            },
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

impl Occupants {
    pub(super) fn of(rooms: &Rooms, room: RoomName) -> Self {
        let (users, sessions) = rooms.occupants(room);
        Self {
            room: room.to_string(),
            sessions,
            users: users.iter().map(Occupant::from).collect(),
        }
    }
}

impl From<&User> for Occupant {
    fn from(user: &User) -> Self {
        Self {
            user_id: user.id().clone(),
            user_name: user.name().to_string(),
        }
    }
}
