//! Why somebody sees a ticket, or does not: what the edge knows of him.

use serde::Serialize;

use super::{Introspection, format_time};
use crate::auth::CachedAccess;
use crate::core::ids::{RoomName, UserId};
use crate::rooms::OpenSession;

/// `GET /why`.
#[derive(Debug, Serialize)]
pub struct Explanation {
    user: UserId,
    room: String,
    /// The user's sessions.
    sessions: Vec<SessionView>,
    /// Whether one of them is in the room.
    inside: bool,
    /// What Laravel last said about the ticket to the tokens of these sessions, if that
    /// is remembered; a yes to one of them counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    remembered: Option<Remembered>,
    /// Why the edge last said no, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_denial: Option<Denial>,
}

#[derive(Debug, Serialize)]
struct SessionView {
    session: String,
    client: String,
    open_seconds: u64,
    rooms: Vec<String>,
    queued: usize,
}

#[derive(Debug, Serialize)]
struct Remembered {
    allowed: bool,
    /// For how long that is still believed.
    seconds_left: u64,
}

#[derive(Debug, Serialize)]
struct Denial {
    at: String,
    reason: String,
}

impl Introspection {
    /// What is known of `user` and `room`. Nobody is asked.
    pub fn explain(&self, user: &UserId, room: RoomName) -> Explanation {
        let open = self.sessions.of_user(user);
        let secrets = open.iter().map(|session| session.token);
        let known = self.access.cached_access(user, secrets, room);
        let remembered = known.verdict.map(|(allowed, left)| Remembered {
            allowed,
            seconds_left: left.as_secs(),
        });
        let sessions: Vec<_> = open.iter().map(|session| self.session(session)).collect();
        let inside = sessions
            .iter()
            .any(|session| session.rooms.contains(&room.to_string()));
        Explanation {
            user: user.clone(),
            room: room.to_string(),
            sessions,
            inside,
            remembered,
            last_denial: denial(known),
        }
    }
}

impl Introspection {
    fn session(&self, session: &OpenSession) -> SessionView {
        let rooms = self.rooms.rooms_of(session.id);
        SessionView {
            session: session.id.to_string(),
            client: session.client.to_string(),
            open_seconds: session.since.elapsed().as_secs(),
            rooms: rooms.iter().map(ToString::to_string).collect(),
            queued: session.queued,
        }
    }
}

fn denial(known: CachedAccess) -> Option<Denial> {
    known.denial.map(|(at, reason)| Denial {
        at: format_time(at),
        reason,
    })
}
