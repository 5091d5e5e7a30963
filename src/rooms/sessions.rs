//! Every session of the process, found by its user or its token.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Departure, Outbox};
use crate::auth::TokenHash;
use crate::ids::{SessionId, UserId};

/// The registry of sessions. Cheap to clone; clones are one.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<HashMap<SessionId, Entry>>>);

#[derive(Debug)]
struct Entry {
    user: UserId,
    token: TokenHash,
    outbox: Outbox,
}

/// Keeps a session in the registry until it is dropped.
#[derive(Debug)]
pub struct Registration {
    session: SessionId,
    sessions: Sessions,
}

impl Sessions {
    /// Enters a session.
    #[must_use = "dropping it takes the session out again"]
    pub fn register(
        &self,
        session: SessionId,
        user: UserId,
        token: TokenHash,
        outbox: Outbox,
    ) -> Registration {
        let entry = Entry {
            user,
            token,
            outbox,
        };
        self.0.lock().insert(session, entry);
        Registration {
            session,
            sessions: self.clone(),
        }
    }

    /// Sessions at once.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Ends every session of `user`; returns how many.
    pub fn disconnect_user(&self, user: &UserId) -> usize {
        self.each(
            |entry| entry.user == *user,
            |outbox| outbox.depart(Departure::Disconnected),
        )
    }

    /// Lets every session of `user` ask Laravel again; returns how many.
    pub fn recheck_user(&self, user: &UserId) -> usize {
        self.each(|entry| entry.user == *user, Outbox::recheck)
    }

    /// Ends every session that came with `token`; returns how many.
    pub fn revoke(&self, token: &TokenHash) -> usize {
        self.each(
            |entry| entry.token == *token,
            |outbox| outbox.depart(Departure::Revoked),
        )
    }

    fn each(&self, wanted: impl Fn(&Entry) -> bool, act: impl Fn(&Outbox)) -> usize {
        let sessions = self.0.lock();
        let wanted = sessions.values().filter(|entry| wanted(entry));
        wanted.map(|entry| act(&entry.outbox)).count()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.0.lock().remove(&self.session);
    }
}
