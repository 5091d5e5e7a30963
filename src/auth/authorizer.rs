//! Authorization: asks Laravel whether a user may see a ticket, and grants access to its
//! room. Decisions are cached by token and ticket; the latest denials are kept for reports.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Method;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Verdict};
use super::settings::{Settings, TicketMethod};
use super::{AuthClient, AuthRequest, CredentialHash, Epoch, Error, Invalidations, User};
use crate::core::ids::{RoomName, UserId};
use crate::runtime::drain::Drain;

/// The right of one user to be in one room. Only this module creates one, out of Laravel's
/// consent, and `Rooms::join` takes nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    room: RoomName,
    user: User,
    secret: CredentialHash,
    epoch: Epoch,
}

impl Grant {
    /// Returns the room that may be joined.
    pub(crate) fn room(&self) -> &RoomName {
        &self.room
    }

    /// Returns the user who may join it.
    pub(crate) fn user(&self) -> &User {
        &self.user
    }

    /// Creates a grant for tests, without a Laravel.
    #[cfg(test)]
    pub(crate) fn for_test(room: RoomName, user: User) -> Self {
        Self {
            room,
            user,
            secret: super::Token::new("test").expect("a token").hash(),
            epoch: Invalidations::new().next_epoch(),
        }
    }
}

/// Decides which rooms a user may join. Cheap to clone; clones share the cache.
#[derive(Clone, Debug)]
pub(crate) struct Authorizer {
    client: AuthClient,
    settings: Arc<Settings>,
    /// The key has the token, not its user: tokens of one user may have different abilities,
    /// and two guards of the application may use the same user ids.
    cache: Cache<(CredentialHash, RoomName), ()>,
    invalidations: Invalidations,
    denials: Arc<Mutex<Denials>>,
}

/// The latest denials and failures, with their time and cause.
type Denials = LruCache<(UserId, RoomName), (SystemTime, String)>;

/// The cached decision on a user and a room, for reports.
#[derive(Clone, Debug)]
pub(crate) struct CachedAccess {
    /// Whether Laravel granted it to one of the user's tokens, and the time until the cached
    /// decision expires.
    pub(crate) verdict: Option<(bool, Duration)>,
    /// The time and the cause of the last request that was not granted.
    pub(crate) denial: Option<(SystemTime, String)>,
}

impl Authorizer {
    /// Creates an authorizer with an empty cache.
    pub(crate) fn new(
        auth_client: AuthClient,
        settings: Arc<Settings>,
        invalidations: Invalidations,
        drain: Drain,
    ) -> Self {
        let (entries, concurrency) = (
            settings.max_cache_entries,
            settings.max_concurrent_ticket_requests,
        );
        Self {
            client: auth_client,
            cache: Cache::new(entries, concurrency, invalidations.clone(), drain),
            denials: Arc::new(Mutex::new(LruCache::new(MAX_DENIALS))),
            invalidations,
            settings,
        }
    }

    /// Returns the right of `user`, whose token `auth_request` carries, to be in `room`, from
    /// the cache or from Laravel. Cancel-safe: a request that has begun completes without its
    /// caller.
    ///
    /// # Errors
    /// `Denied` if Laravel denies the ticket or does not know it, `TokenRejected` if it rejects
    /// the token, `Unavailable` if it decides nothing.
    pub(crate) async fn authorize(
        &self,
        user: &User,
        room: &RoomName,
        auth_request: AuthRequest,
    ) -> Result<Grant, Error> {
        let granted = self.decide(user, room, auth_request).await;
        if let Err(error) = &granted {
            let denial = (SystemTime::now(), error.to_string());
            self.denials
                .lock()
                .put((user.id().clone(), room.clone()), denial);
        }
        granted
    }

    /// Decides by the cache or by Laravel; see [`Authorizer::authorize`].
    async fn decide(
        &self,
        user: &User,
        room: &RoomName,
        mut auth_request: AuthRequest,
    ) -> Result<Grant, Error> {
        loop {
            let (this, request) = (self.clone(), auth_request.clone());
            let key = (auth_request.secret, room.clone());
            let queried = room.clone();
            let query =
                move |started| async move { this.query(&queried, &request, &started).await };
            let decision = self.cache.get(key, &auth_request, query).await?;
            // A decision from before the latest invalidation is asked for again.
            if let Some(invalidated) =
                self.invalidations
                    .latest_after(user.id(), auth_request.secret, decision.epoch)
            {
                auth_request.since = Some(invalidated);
                continue;
            }
            decision.value.ok_or(Error::Denied)?;
            return Ok(Grant {
                room: room.clone(),
                user: user.clone(),
                secret: auth_request.secret,
                epoch: decision.epoch,
            });
        }
    }

    /// Returns the cached decision on `user`, whose sessions have the tokens of `secrets`, and
    /// `room`, without asking Laravel.
    pub(crate) fn cached_access(
        &self,
        user: &UserId,
        secrets: impl IntoIterator<Item = CredentialHash>,
        room: &RoomName,
    ) -> CachedAccess {
        let secrets = secrets.into_iter();
        CachedAccess {
            verdict: secrets
                .filter_map(|secret| self.cache.peek(&(secret, room.clone())))
                .max(),
            denial: self
                .denials
                .lock()
                .peek(&(user.clone(), room.clone()))
                .cloned(),
        }
    }

    /// Returns whether Laravel has granted any request after `moment`, of whichever client.
    pub(crate) fn has_granted_since(&self, moment: Instant) -> bool {
        self.client.has_granted_since(moment)
    }

    /// Returns whether `grant` has not been invalidated since Laravel was asked for it.
    pub(crate) fn is_still_valid(&self, grant: &Grant) -> bool {
        self.invalidations
            .latest_after(grant.user.id(), grant.secret, grant.epoch)
            .is_none()
    }

    /// Asks Laravel and counts the result.
    async fn query(
        &self,
        room: &RoomName,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<Verdict<()>, Error> {
        let verdict = self.send_query(room, auth_request, started).await;
        self.client.count_verdict(auth_request, &verdict, "ticket");
        verdict
    }

    /// Asks Laravel for the ticket of `room`.
    ///
    /// # Errors
    /// `TokenRejected` for 401; `Unavailable` for a status that `auth.ticket_path` does not give.
    async fn send_query(
        &self,
        room: &RoomName,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<Verdict<()>, Error> {
        let method = match self.settings.ticket_method {
            TicketMethod::Head => Method::HEAD,
            TicketMethod::Get => Method::GET,
        };
        let path = self.settings.ticket_path.path(room.ticket_id());
        let fetching = self
            .client
            .fetch_status(method, path, auth_request, started);
        let status = fetching.await?;
        let ttl = self.settings.ticket_ttl.get();
        match status.as_u16() {
            200..=299 => Ok(Verdict {
                value: Some(()),
                ttl,
            }),
            403 | 404 => Ok(Verdict { value: None, ttl }),
            // This is about the token and not about the ticket, so it is not cached.
            401 => Err(Error::TokenRejected),
            status => {
                let reason = format!("Laravel responded with {status}; is auth.ticket_path right?");
                Err(Error::unavailable(reason))
            }
        }
    }
}

/// The denials and failures that are kept.
const MAX_DENIALS: NonZeroUsize = NonZeroUsize::new(1000).expect("above zero");
