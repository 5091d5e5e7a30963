//! A session that is to be parked.

use crate::auth::{AgentHash, CredentialHash};
use crate::core::ids::{RoomName, SessionId, UserId};

/// The browser of a user, as far as the edge can tell: a token, and the hash of the client
/// that uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Browser {
    /// The token.
    pub(crate) token: CredentialHash,
    /// The client.
    pub(crate) agent: AgentHash,
}

/// A session that is to be parked.
#[derive(Clone, Debug)]
pub(in crate::rooms) struct LostSession {
    pub(in crate::rooms) session: SessionId,
    pub(in crate::rooms) user: UserId,
    pub(in crate::rooms) browser: Browser,
    /// Its rooms in the order of its joins, each with the offset up to which its client has all
    /// events.
    pub(in crate::rooms) rooms: Vec<(RoomName, u64)>,
}

/// The rooms of one parked session, those that it joined last. With them it takes less than a
/// KiB.
pub(in crate::rooms) const MAX_ROOMS: usize = 12;
