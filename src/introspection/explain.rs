//! The report that explains why a user is, or is not, in a room.

use serde::Serialize;

use super::{Introspection, format_time};
use crate::auth::CachedAccess;
use crate::core::ids::{RoomName, UserId};
use crate::rooms::OpenSession;

/// The response to `GET /users/{id}/{kind}/{name}`.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    user_id: UserId,
    room: String,
    /// Whether one of the user's sessions is in the room.
    in_room: bool,
    /// All open sessions of the user.
    sessions: Vec<SessionView>,
    /// Laravel's last decision for the tokens of these sessions, if it is cached. If Laravel
    /// allowed one token and denied another, this is the one that it allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_decision: Option<CachedDecision>,
    /// The last denied attempt of the user to join the room, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_denial: Option<Denial>,
}

#[derive(Debug, Serialize)]
struct SessionView {
    session_id: String,
    client_ip: String,
    open_seconds: u64,
    /// The number of events in the send queue.
    queued_events: usize,
    rooms: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CachedDecision {
    allowed: bool,
    /// The remaining time until the decision expires, in seconds.
    expires_in_seconds: u64,
}

#[derive(Debug, Serialize)]
struct Denial {
    at: String,
    reason: String,
}

impl Introspection {
    /// Returns the sessions of `user`, and the cached decision and last denial for `room`. It
    /// sends no request to Laravel.
    pub(crate) fn explain(&self, user: &UserId, room: &RoomName) -> Explanation {
        let open = self.sessions.of_user(user);
        let secrets = open.iter().filter_map(|session| session.token);
        let known = self.access.cached_access(user, secrets, room);
        let sessions: Vec<_> = open.iter().map(|session| self.session(session)).collect();
        let room = room.to_string();
        Explanation {
            user_id: user.clone(),
            in_room: sessions.iter().any(|session| session.rooms.contains(&room)),
            room,
            sessions,
            cached_decision: known.verdict.map(|(allowed, left)| CachedDecision {
                allowed,
                expires_in_seconds: left.as_secs(),
            }),
            last_denial: last_denial(known),
        }
    }

    fn session(&self, session: &OpenSession) -> SessionView {
        let rooms = self.rooms.rooms_of(session.id);
        SessionView {
            session_id: session.id.to_string(),
            client_ip: session.client.to_string(),
            open_seconds: session.since.elapsed().as_secs(),
            queued_events: session.queued,
            rooms: rooms.iter().map(ToString::to_string).collect(),
        }
    }
}

fn last_denial(known: CachedAccess) -> Option<Denial> {
    known.denial.map(|(at, reason)| Denial {
        at: format_time(at),
        reason,
    })
}
