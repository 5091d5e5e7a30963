//! From a user and a ticket to the right to be in its room.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;

use super::cache::{Cache, Verdict};
use super::question::unavailable;
use super::settings::{Settings, TicketMethod};
use super::{Asker, Caller, Error, Token, User};
use crate::drain::Drain;
use crate::ids::{RoomName, UserId};

/// The right of one user to be in one room. Made only here, out of Laravel's
/// yes; `Rooms::join` takes nothing else.
#[derive(Clone, Debug)]
pub struct Grant {
    room: RoomName,
    user: User,
}

impl Grant {
    /// The room that may be joined.
    pub fn room(&self) -> RoomName {
        self.room
    }

    /// Who may join it.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// A grant for tests of the rooms, without a Laravel.
    #[cfg(test)]
    pub(crate) fn for_test(room: RoomName, user: User) -> Self {
        Self { room, user }
    }
}

/// Finds out which rooms a user may join. Cheap to clone; clones remember together.
#[derive(Clone, Debug)]
pub struct Access {
    asker: Asker,
    settings: Arc<Settings>,
    cache: Cache<(UserId, RoomName), ()>,
}

impl Access {
    /// Knows of no right yet.
    pub fn new(asker: Asker, settings: Arc<Settings>, drain: Drain) -> Self {
        let concurrency = settings.access_concurrency.get();
        Self {
            asker,
            cache: Cache::new(settings.cache_entries, concurrency, drain),
            settings,
        }
    }

    /// The right of `user` to `room`, asked with the user's own `token`.
    ///
    /// # Errors
    /// Laravel denies it or does not know the ticket, or cannot be asked.
    pub async fn authorize(
        &self,
        user: &User,
        room: RoomName,
        token: &Token,
        caller: &Caller,
    ) -> Result<Grant, Error> {
        let this = self.clone();
        let (token, caller) = (token.clone(), caller.clone());
        let question = async move { this.ask(room, &token, &caller).await };
        let key = (user.id().clone(), room);
        self.cache.get(key, question).await?;
        Ok(Grant {
            room,
            user: user.clone(),
        })
    }

    /// Forgets what is known about a user and a room: the next question goes to Laravel.
    pub fn forget(&self, user: &UserId, room: RoomName) {
        self.cache.forget(&(user.clone(), room));
    }

    async fn ask(
        &self,
        room: RoomName,
        token: &Token,
        caller: &Caller,
    ) -> Result<Verdict<()>, Error> {
        let method = match self.settings.ticket_method {
            TicketMethod::Head => Method::HEAD,
            TicketMethod::Get => Method::GET,
        };
        let path = self.settings.ticket_path.path(room.ticket_id());
        let answer = self.asker.ask(method, path, token, caller).await?;
        let ttl = self.settings.access_ttl.get();
        match answer.status.as_u16() {
            200..=299 => Ok(Verdict {
                answer: Some(()),
                ttl,
            }),
            403 | 404 => Ok(Verdict { answer: None, ttl }),
            // About the token, not about the user: his other tokens may be good.
            401 => Ok(Verdict {
                answer: None,
                ttl: Duration::ZERO,
            }),
            status => {
                let reason = format!("Laravel answered {status}; is auth.ticket_path right?");
                Err(unavailable(reason))
            }
        }
    }
}
