//! From a user and a ticket to the right to be in its room.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Method;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::cache::{Cache, Verdict};
use super::question::unavailable;
use super::settings::{Settings, TicketMethod};
use super::{Asker, Doubts, Error, Inquiry, Moment, TokenHash, User};
use crate::drain::Drain;
use crate::ids::{RoomName, UserId};

/// The right of one user to be in one room. Made only here, out of Laravel's
/// yes; `Rooms::join` takes nothing else.
#[derive(Clone, Debug)]
pub struct Grant {
    room: RoomName,
    user: User,
    secret: TokenHash,
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
            secret: super::Token::new("test").expect("a token").secret(),
            asked: Doubts::new().now(),
        }
    }
}

/// Finds out which rooms a user may join. Cheap to clone; clones remember together.
#[derive(Clone, Debug)]
pub struct Access {
    asker: Asker,
    settings: Arc<Settings>,
    /// By the token, not by its user: one token of a user may have an ability that
    /// another has not, and two guards of the app may number their users alike.
    cache: Cache<(TokenHash, RoomName), ()>,
    doubts: Doubts,
    denials: Arc<Mutex<Denials>>,
}

/// When and why there was no yes.
type Denials = LruCache<(UserId, RoomName), (SystemTime, String)>;

/// What is known of a user and a room, without asking.
#[derive(Clone, Debug)]
pub struct Known {
    /// Whether Laravel said yes to one of the user's tokens, and for how long that is
    /// believed.
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

    /// The right of `user`, whose token `inquiry` carries, to `room`.
    ///
    /// # Errors
    /// Laravel denies it or does not know the ticket, refuses the token, or
    /// cannot be asked.
    pub async fn authorize(
        &self,
        user: &User,
        room: RoomName,
        inquiry: Inquiry,
    ) -> Result<Grant, Error> {
        let granted = self.decide(user, room, inquiry).await;
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
        mut inquiry: Inquiry,
    ) -> Result<Grant, Error> {
        loop {
            let (this, asked) = (self.clone(), inquiry.clone());
            let question = async move { this.ask(room, &asked).await };
            let key = (inquiry.secret, room);
            let told = self.cache.get(key, &inquiry, question).await?;
            if let Some(doubt) = self.doubts.after(user.id(), inquiry.secret, told.asked) {
                inquiry.since = Some(doubt);
                continue;
            }
            told.answer.ok_or(Error::Denied)?;
            return Ok(Grant {
                room,
                user: user.clone(),
                secret: inquiry.secret,
                asked: told.asked,
            });
        }
    }

    /// What is known of `user`, whose sessions have the tokens of `secrets`, and `room`.
    /// Nobody is asked.
    pub fn known(
        &self,
        user: &UserId,
        secrets: impl IntoIterator<Item = TokenHash>,
        room: RoomName,
    ) -> Known {
        let verdicts = secrets.into_iter();
        let verdicts = verdicts.filter_map(|secret| self.cache.peek(&(secret, room)));
        Known {
            verdict: verdicts.max(),
            denial: self.denials.lock().peek(&(user.clone(), room)).cloned(),
        }
    }

    /// Whether Laravel has granted anybody anything after `moment`.
    pub fn has_granted_since(&self, moment: Instant) -> bool {
        self.asker.has_granted_since(moment)
    }

    /// Whether nothing has cast doubt on `grant` since it was asked for.
    pub fn still_holds(&self, grant: &Grant) -> bool {
        self.doubts
            .after(grant.user.id(), grant.secret, grant.asked)
            .is_none()
    }

    async fn ask(&self, room: RoomName, inquiry: &Inquiry) -> Result<Verdict<()>, Error> {
        let verdict = self.question(room, inquiry).await;
        self.asker.settle(inquiry, &verdict, COUNTED);
        verdict
    }

    async fn question(&self, room: RoomName, inquiry: &Inquiry) -> Result<Verdict<()>, Error> {
        let method = match self.settings.ticket_method {
            TicketMethod::Head => Method::HEAD,
            TicketMethod::Get => Method::GET,
        };
        let path = self.settings.ticket_path.path(room.ticket_id());
        let status = self.asker.probe(method, path, inquiry).await?;
        let ttl = self.settings.access_ttl.get();
        match status.as_u16() {
            200..=299 => Ok(Verdict {
                answer: Some(()),
                ttl,
            }),
            403 | 404 => Ok(Verdict { answer: None, ttl }),
            // About the token, not about this ticket.
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
