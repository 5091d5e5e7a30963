//! From a user and a ticket to the right to be in its room.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Method;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::cache::{Cache, Verdict};
use super::client::unavailable;
use super::settings::{Settings, TicketMethod};
use super::{AuthClient, AuthRequest, Epoch, Error, Invalidations, TokenHash, User};
use crate::core::ids::{RoomName, UserId};
use crate::runtime::drain::Drain;

/// The right of one user to be in one room. Made only here, out of Laravel's
/// yes; `Rooms::join` takes nothing else.
#[derive(Clone, Debug)]
pub struct Grant {
    room: RoomName,
    user: User,
    secret: TokenHash,
    asked: Epoch,
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
            secret: super::Token::new("test").expect("a token").hash(),
            asked: Invalidations::new().next_epoch(),
        }
    }
}

/// Finds out which rooms a user may join. Cheap to clone; clones remember together.
#[derive(Clone, Debug)]
pub struct Authorizer {
    client: AuthClient,
    settings: Arc<Settings>,
    /// By the token, not by its user: one token of a user may have an ability that
    /// another has not, and two guards of the app may number their users alike.
    cache: Cache<(TokenHash, RoomName), ()>,
    invalidations: Invalidations,
    denials: Arc<Mutex<Denials>>,
}

/// When and why there was no yes.
type Denials = LruCache<(UserId, RoomName), (SystemTime, String)>;

/// What is known of a user and a room, without asking.
#[derive(Clone, Debug)]
pub struct CachedAccess {
    /// Whether Laravel said yes to one of the user's tokens, and for how long that is
    /// believed.
    pub verdict: Option<(bool, Duration)>,
    /// When there was no yes last, and why.
    pub denial: Option<(SystemTime, String)>,
}

impl Authorizer {
    /// Knows of no right yet.
    pub fn new(
        auth_client: AuthClient,
        settings: Arc<Settings>,
        invalidations: Invalidations,
        drain: Drain,
    ) -> Self {
        let (entries, concurrency) = (settings.cache_entries, settings.access_concurrency);
        Self {
            client: auth_client,
            cache: Cache::new(entries, concurrency, invalidations.clone(), drain),
            denials: Arc::new(Mutex::new(LruCache::new(MAX_DENIALS))),
            invalidations,
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
        auth_request: AuthRequest,
    ) -> Result<Grant, Error> {
        let granted = self.decide(user, room, auth_request).await;
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
        mut auth_request: AuthRequest,
    ) -> Result<Grant, Error> {
        loop {
            let (this, asked) = (self.clone(), auth_request.clone());
            let question = async move { this.query(room, &asked).await };
            let key = (auth_request.secret, room);
            let told = self.cache.get(key, &auth_request, question).await?;
            if let Some(doubt) =
                self.invalidations
                    .latest_after(user.id(), auth_request.secret, told.epoch)
            {
                auth_request.since = Some(doubt);
                continue;
            }
            told.answer.ok_or(Error::Denied)?;
            return Ok(Grant {
                room,
                user: user.clone(),
                secret: auth_request.secret,
                asked: told.epoch,
            });
        }
    }

    /// What is known of `user`, whose sessions have the tokens of `secrets`, and `room`.
    /// Nobody is asked.
    pub fn cached_access(
        &self,
        user: &UserId,
        secrets: impl IntoIterator<Item = TokenHash>,
        room: RoomName,
    ) -> CachedAccess {
        let verdicts = secrets.into_iter();
        let verdicts = verdicts.filter_map(|secret| self.cache.peek(&(secret, room)));
        CachedAccess {
            verdict: verdicts.max(),
            denial: self.denials.lock().peek(&(user.clone(), room)).cloned(),
        }
    }

    /// Whether Laravel has granted anybody anything after `moment`.
    pub fn has_granted_since(&self, moment: Instant) -> bool {
        self.client.has_granted_since(moment)
    }

    /// Whether nothing has cast doubt on `grant` since it was asked for.
    pub fn is_still_valid(&self, grant: &Grant) -> bool {
        self.invalidations
            .latest_after(grant.user.id(), grant.secret, grant.asked)
            .is_none()
    }

    async fn query(
        &self,
        room: RoomName,
        auth_request: &AuthRequest,
    ) -> Result<Verdict<()>, Error> {
        let verdict = self.send_query(room, auth_request).await;
        self.client
            .count_verdict(auth_request, &verdict, METRIC_NAMES);
        verdict
    }

    async fn send_query(
        &self,
        room: RoomName,
        auth_request: &AuthRequest,
    ) -> Result<Verdict<()>, Error> {
        let method = match self.settings.ticket_method {
            TicketMethod::Head => Method::HEAD,
            TicketMethod::Get => Method::GET,
        };
        let path = self.settings.ticket_path.path(room.ticket_id());
        let status = self.client.fetch_status(method, path, auth_request).await?;
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
const METRIC_NAMES: [&str; 3] = ["ticket_open", "ticket_denied", "ticket_not_told"];
