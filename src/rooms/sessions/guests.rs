//! The sessions of Pusher clients.

use smallvec::SmallVec;
use tokio::time::Instant;

use super::{Registration, Sessions};
use crate::core::client_ip::ClientIp;
use crate::core::ids::{SessionId, UserId};
use crate::rooms::{Audience, Outbox};

/// The session of a Pusher client: it has no token, and its channels name its users.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) client: ClientIp,
    pub(super) since: Instant,
    /// The users as whom the session may be disconnected.
    pub(super) users: SmallVec<[UserId; 1]>,
    pub(super) outbox: Outbox,
}

impl Sessions {
    /// Adds the session of a Pusher client, until the returned guard is dropped.
    #[must_use = "dropping it takes the session out again"]
    pub(crate) fn register_guest(
        &self,
        session: SessionId,
        client: ClientIp,
        outbox: Outbox,
    ) -> Registration {
        let guest = Guest {
            client,
            since: Instant::now(),
            users: SmallVec::new(),
            outbox,
        };
        self.0.lock().guests.insert(session, guest);
        Registration {
            session,
            sessions: self.clone(),
        }
    }

    /// Returns `audience` with the decision whether a Pusher client is left out as the session
    /// of a user. A room cannot decide it: any of the client's channels may have named the
    /// user. A client that none has named may be this user's.
    pub(crate) fn resolve(&self, audience: Audience) -> Audience {
        let Audience::AllButOwn(session, owner) = &audience else {
            return audience;
        };
        let registry = self.0.lock();
        match registry.guests.get(session) {
            None => audience,
            Some(guest) if guest.users.is_empty() || guest.users.contains(owner) => {
                Audience::AllBut(*session)
            }
            Some(_) => Audience::All,
        }
    }
}

impl Registration {
    /// Adds a user as whom the session of a Pusher client may be disconnected from now on.
    pub(crate) fn add_user(&self, user: &UserId) {
        let mut registry = self.sessions.0.lock();
        let guest = registry.guests.get_mut(&self.session);
        if let Some(guest) = guest.filter(|guest| !guest.users.contains(user)) {
            guest.users.push(user.clone());
        }
    }
}
