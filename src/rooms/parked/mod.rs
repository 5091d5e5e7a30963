//! Parked sessions: those that were lost, of clients that may return. An old front end knows
//! no positions, so the edge keeps for a while what its client has confirmed.
//!
//! A session that returns with the same token and browser claims one parked session, the
//! oldest. Nothing tells two tabs of one browser apart. So it gets the rooms of all parked
//! sessions of its browser, each from the lowest position of all, and a session that was
//! continued stays and lends its rooms until its own time is over, or no other one is left:
//! each tab gets at least what it has missed. What a session has confirmed itself never changes,
//! so a tab that does not return makes the others get events twice for that time only.
//!
//! A claimed session stays here until the claim is over: meanwhile its user is not absent.
//!
//! Under the lock only the queue of marks for the event log is locked.

mod claim;
mod lost_session;
mod table;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::claim::Claim;
pub(crate) use self::lost_session::Browser;
pub(super) use self::lost_session::{LostSession, MAX_ROOMS};
use self::table::Table;
use super::history::{MarkQueue, ResumePoint};
use crate::auth::CredentialHash;
use crate::core::ids::{RoomName, SessionId, UserId};
use crate::runtime::sync::Mutex;

/// The parked sessions. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ParkedSessions {
    table: Arc<Mutex<Table>>,
    marks: Arc<MarkQueue>,
}

impl ParkedSessions {
    /// Creates an empty table, which keeps a session for `timeout`, and reports to `marks`
    /// what the event log is to know.
    pub(super) fn new(timeout: Duration, marks: Arc<MarkQueue>) -> Self {
        let table = Table::new(timeout, Arc::clone(&marks));
        Self {
            table: Arc::new(Mutex::new(table)),
            marks,
        }
    }

    /// Returns the queue of marks for the event log.
    pub(super) fn marks(&self) -> &Arc<MarkQueue> {
        &self.marks
    }

    /// Parks a session, unless it is in no room. Over a bound the oldest is dropped: of its
    /// token, or of all.
    pub(super) fn park(&self, lost: LostSession) {
        self.table.lock().park(lost, Instant::now());
    }

    /// Claims the oldest parked session of `browser` and `user` that is not claimed.
    pub(super) fn claim(&self, browser: Browser, user: &UserId) -> Option<Claim> {
        let (id, rooms) = self.table.lock().claim(browser, user, Instant::now())?;
        Some(Claim::new(self.clone(), browser.token, id, rooms))
    }

    /// Returns whether a session of `browser` is parked and not claimed.
    pub(super) fn has(&self, browser: Browser) -> bool {
        self.table.lock().has(browser, Instant::now())
    }

    /// Returns whether a session of `browser` that is parked and not claimed was in `room`.
    pub(super) fn has_room(&self, browser: Browser, room: &RoomName) -> bool {
        self.table.lock().has_room(browser, room, Instant::now())
    }

    /// Drops `room` from the oldest session of `browser` that is not claimed and was there.
    pub(super) fn discard_room(&self, browser: Browser, room: &RoomName) {
        self.table.lock().discard_room(browser, room);
    }

    /// Drops all sessions of a token.
    pub(super) fn drop_token(&self, token: &CredentialHash) {
        self.table.lock().drop_token(token);
    }

    /// Drops all sessions of a user.
    pub(super) fn drop_user(&self, user: &UserId) {
        self.table.lock().drop_user(user);
    }

    /// Drops the sessions whose time is over.
    pub(super) fn drop_expired(&self) {
        self.table.lock().drop_expired(Instant::now());
    }

    /// Returns whether a parked session of `user` was in `room`.
    pub(super) fn is_expected(&self, user: &UserId, room: &RoomName) -> bool {
        self.table.lock().is_expected(user, room, Instant::now())
    }

    /// Returns the sessions that were in `room` and lack the event at `offset`.
    pub(super) fn lacking(&self, room: &RoomName, offset: u64) -> Vec<(SessionId, UserId)> {
        self.table.lock().lacking(room, offset, Instant::now())
    }

    /// Returns the number of parked sessions.
    pub(super) fn count(&self) -> usize {
        let mut table = self.table.lock();
        table.drop_expired(Instant::now());
        table.count()
    }
}

#[cfg(test)]
mod tests;
