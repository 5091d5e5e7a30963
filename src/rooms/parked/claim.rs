//! The claim of a returning session on a parked one.

use super::{ParkedSessions, ResumePoint};
use crate::auth::CredentialHash;
use crate::core::ids::RoomName;

/// A claim on a parked session. If it is dropped before [`Claim::complete`], because the
/// session that returned was lost again, another one may claim the parked session.
#[derive(Debug)]
pub(crate) struct Claim {
    parked: ParkedSessions,
    token: CredentialHash,
    id: u64,
    rooms: Vec<(RoomName, ResumePoint)>,
    is_complete: bool,
}

impl Claim {
    pub(super) fn new(
        parked: ParkedSessions,
        token: CredentialHash,
        id: u64,
        rooms: Vec<(RoomName, ResumePoint)>,
    ) -> Self {
        Self {
            parked,
            token,
            id,
            rooms,
            is_complete: false,
        }
    }

    /// Takes the rooms to enter, each with the point after which the client may lack events.
    pub(crate) fn take_rooms(&mut self) -> Vec<(RoomName, ResumePoint)> {
        std::mem::take(&mut self.rooms)
    }

    /// Removes the parked session: its rooms are entered.
    pub(crate) fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.parked.table.lock();
        table.end_claim(&self.token, self.id, self.is_complete);
    }
}
