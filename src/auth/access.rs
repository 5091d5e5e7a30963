//! From a user and a ticket to the right to be in its room.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use hyper::Method;
use lru::LruCache;
use parking_lot::Mutex;

use super::cache::{Cache, Verdict};
use super::question::unavailable;
use super::settings::{Settings, TicketMethod};
use super::{Asker, Caller, Doubts, Error, Moment, Token, User};
use crate::drain::Drain;
use crate::ids::{RoomName, UserId};

/// The right of one user to be in one room. Made only here, out of Laravel's
/// yes; `Rooms::join` takes nothing else.
#[derive(Clone, Debug)]
pub struct Grant {
    room: RoomName,
    user: User,
    asked: Moment,
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
        Self {
            room,
            user,
            asked: Doubts::new().now(),
        }
    }
}

/// Finds out which rooms a user may join. Cheap to clone; clones remember together.
#[derive(Clone, Debug)]
pub struct Access {
    asker: Asker,
    settings: Arc<Settings>,
    cache: Cache<(UserId, RoomName), ()>,
    doubts: Doubts,
    denials: Arc<Mutex<Denials>>,
}

/// When and why there was no yes.
type Denials = LruCache<(UserId, RoomName), (SystemTime, String)>;

/// What is known of a user and a room, without asking.
#[derive(Clone, Debug)]
pub struct Known {
    /// Whether Laravel said yes, and for how long that is believed.
    pub verdict: Option<(bool, Duration)>,
    /// When there was no yes last, and why.
    pub denial: Option<(SystemTime, String)>,
}

impl Access {
    /// Knows of no right yet.
    pub fn new(asker: Asker, settings: Arc<Settings>, doubts: Doubts, drain: Drain) -> Self {
        let (entries, concurrency) = (settings.cache_entries, settings.access_concurrency);
        Self {
            asker,
            cache: Cache::new(entries, concurrency, doubts.clone(), drain),
            denials: Arc::new(Mutex::new(LruCache::new(MAX_DENIALS))),
            doubts,
            settings,
        }
    }

    /// The right of `user` to `room`, asked with the user's own `token`; with
    /// `since`, as Laravel answers then or later.
    ///
    /// # Errors
    /// Laravel denies it or does not know the ticket, refuses the token, or
    /// cannot be asked.
    pub async fn authorize(
        &self,
        user: &User,
        room: RoomName,
        token: &Token,
        caller: &Caller,
        since: Option<Moment>,
    ) -> Result<Grant, Error> {
        let granted = self.decide(user, room, token, caller, since).await;
        if let Err(error) = &granted {
            let why = (SystemTime::now(), error.to_string());
            self.denials.lock().put((user.id().clone(), room), why);
        }
        granted
    }

    async fn decide(
        &self,
        user: &User,
        room: RoomName,
        token: &Token,
        caller: &Caller,
        mut since: Option<Moment>,
    ) -> Result<Grant, Error> {
        loop {
            let ours = Arc::new(AtomicBool::new(false));
            let question = self.question(room, token, caller, &ours);
            let key = (user.id().clone(), room);
            let told = match self.cache.get(key, since, question).await {
                // It was another of the user's tokens that Laravel refused.
                Err(Error::TokenRefused) if !ours.load(Relaxed) => continue,
                told => told?,
            };
            if let Some(doubt) = self.doubts.after(user.id(), told.asked) {
                since = Some(doubt);
                continue;
            }
            told.answer.ok_or(Error::Denied)?;
            return Ok(Grant {
                room,
                user: user.clone(),
                asked: told.asked,
            });
        }
    }

    /// What is known of `user` and `room`. Nobody is asked.
    pub fn known(&self, user: &UserId, room: RoomName) -> Known {
        let key = (user.clone(), room);
        Known {
            verdict: self.cache.peek(&key),
            denial: self.denials.lock().peek(&key).cloned(),
        }
    }

    /// Whether nothing has cast doubt on `grant` since it was asked for.
    pub fn still_holds(&self, grant: &Grant) -> bool {
        self.doubts.after(grant.user.id(), grant.asked).is_none()
    }

    /// The question to Laravel; it notes in `ours` that it was asked.
    fn question(
        &self,
        room: RoomName,
        token: &Token,
        caller: &Caller,
        ours: &Arc<AtomicBool>,
    ) -> impl Future<Output = Result<Verdict<()>, Error>> + Send + 'static {
        let (this, ours) = (self.clone(), Arc::clone(ours));
        let (token, caller) = (token.clone(), caller.clone());
        async move {
            ours.store(true, Relaxed);
            let verdict = this.ask(room, &token, &caller).await;
            this.asker.count(&verdict, COUNTED);
            verdict
        }
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
        let status = self.asker.probe(method, path, token, caller).await?;
        let ttl = self.settings.access_ttl.get();
        match status.as_u16() {
            200..=299 => Ok(Verdict {
                answer: Some(()),
                ttl,
            }),
            403 | 404 => Ok(Verdict { answer: None, ttl }),
            // About the token, not about the user: his other tokens may be good.
            401 => Err(Error::TokenRefused),
            status => {
                let reason = format!("Laravel answered {status}; is auth.ticket_path right?");
                Err(unavailable(reason))
            }
        }
    }
}

const MAX_DENIALS: NonZeroUsize = NonZeroUsize::new(1000).expect("above zero");
const COUNTED: [&str; 3] = ["ticket_open", "ticket_denied", "ticket_not_told"];
