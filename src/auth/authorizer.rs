//! Authorization: asks Laravel whether a user may see a ticket or join a channel, and grants
//! access to its room. Decisions are cached by token and room; the latest denials are kept for
//! reports.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Method;
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Verdict};
use super::channel::{self, Consent, SignedMember};
use super::client::Query;
use super::settings::{Settings, TicketMethod};
use super::{AuthClient, AuthRequest, CredentialHash, Epoch, Error, Invalidations, User, UserInfo};
use crate::core::ids::{ChannelKind, ChannelName, RoomName, RowId, UserId};
use crate::runtime::drain::Drain;

/// The right to be in one room. Only this module creates one, and `Rooms::join` takes nothing
/// else.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    room: RoomName,
    /// None for a Pusher client in a room without presence.
    user: Option<User>,
    user_info: Option<UserInfo>,
    /// The user's id as Laravel has signed it.
    signed_id: Option<Arc<RawValue>>,
    /// The request that it follows from; none if Laravel has signed it.
    request: Option<(CredentialHash, Epoch)>,
}

impl Grant {
    /// Returns the room that may be joined.
    pub(crate) fn room(&self) -> &RoomName {
        &self.room
    }

    /// Returns the user who may join it, unless the edge does not know them.
    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Returns what the members of a presence channel learn about the user, if the application
    /// returns any.
    pub(crate) fn user_info(&self) -> Option<&UserInfo> {
        self.user_info.as_ref()
    }

    /// Returns the JSON of the user's id as Laravel has signed it, a number or a string; none
    /// if Laravel was asked.
    pub(crate) fn signed_id(&self) -> Option<&Arc<RawValue>> {
        self.signed_id.as_ref()
    }

    /// Creates a grant that Laravel has signed, with the user of a presence channel.
    pub(super) fn signed(channel: ChannelName, member: Option<SignedMember>) -> Self {
        let room = RoomName::Channel(channel);
        let (user, user_info, signed_id) = match member {
            Some(member) => (Some(member.user), member.info, Some(member.id)),
            None => (None, None, None),
        };
        Self {
            room,
            user,
            user_info,
            signed_id,
            request: None,
        }
    }

    /// Creates a grant for a presence channel for tests, without a signature.
    #[cfg(test)]
    pub(crate) fn signed_for_test(channel: &str, channel_data: &str) -> Self {
        let member = channel::read_member(channel_data).expect("a member");
        Self::signed(channel.parse().expect("a channel"), Some(member))
    }

    /// Creates a grant for tests, without a Laravel.
    #[cfg(test)]
    pub(crate) fn for_test(room: RoomName, user: User) -> Self {
        Self {
            room,
            user: Some(user),
            user_info: None,
            signed_id: None,
            request: None,
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
    cache: Cache<(CredentialHash, RoomName), Consent>,
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

    /// Returns whether `user` can join rooms of this kind: without `auth.channel_path` the only
    /// channel is their own.
    pub(crate) fn is_offered(&self, user: &User, room: &RoomName) -> bool {
        match room {
            RoomName::Ticket(_) => true,
            RoomName::Channel(name) => {
                self.settings.channel_path.is_some() || self.is_own_channel(user, name)
            }
        }
    }

    /// Returns the right of `user`, whose credential has the hash `secret`, to their own channel, if
    /// `auth.user_channel` gives them one.
    pub(crate) fn grant_own_channel(&self, user: &User, secret: CredentialHash) -> Option<Grant> {
        let name = self.settings.user_channel.as_ref()?.of(user.id());
        if name.is_none() {
            tracing::warn!(
                name: "user_channel_invalid",
                user = %user.id(),
                "user channel invalid"
            );
        }
        Some(self.grant_at_once(user, RoomName::Channel(name?), secret))
    }

    /// Returns the user whose own channel `channel` is, if `auth.user_channel` gives them one.
    pub(crate) fn owner_of(&self, channel: &ChannelName) -> Option<UserId> {
        self.settings.user_channel.as_ref()?.user(channel)
    }

    fn is_own_channel(&self, user: &User, channel: &ChannelName) -> bool {
        let own = self.settings.user_channel.as_ref();
        own.is_some_and(|own| own.of(user.id()).as_ref() == Some(channel))
    }

    /// Creates a grant that follows from the identity of `user` alone. The session revalidates
    /// that.
    fn grant_at_once(&self, user: &User, room: RoomName, secret: CredentialHash) -> Grant {
        Grant {
            room,
            user: Some(user.clone()),
            user_info: None,
            signed_id: None,
            request: Some((secret, self.invalidations.next_epoch())),
        }
    }

    /// Returns the right of `user`, whose token `auth_request` carries, to be in `room`. It
    /// comes from the cache or from Laravel; for public channels and the user's own, Laravel
    /// is not asked. Cancel-safe: a request that has begun completes without its caller.
    ///
    /// # Errors
    /// `Denied` if Laravel denies the room or does not know it, or if rooms of this kind are
    /// not offered; `TokenRejected` if it rejects the token, `Unavailable` if it decides nothing.
    pub(crate) async fn authorize(
        &self,
        user: &User,
        room: &RoomName,
        auth_request: AuthRequest,
    ) -> Result<Grant, Error> {
        if !self.is_offered(user, room) {
            return Err(Error::Denied);
        }
        if let RoomName::Channel(name) = room
            && (name.kind() == ChannelKind::Public || self.is_own_channel(user, name))
        {
            return Ok(self.grant_at_once(user, room.clone(), auth_request.secret));
        }
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
            let consent = decision.value.ok_or(Error::Denied)?;
            return Ok(Grant {
                room: room.clone(),
                user: Some(user.clone()),
                user_info: consent.user_info,
                signed_id: None,
                request: Some((auth_request.secret, decision.epoch)),
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
        let (Some(user), Some((secret, epoch))) = (&grant.user, grant.request) else {
            return true;
        };
        self.invalidations
            .latest_after(user.id(), secret, epoch)
            .is_none()
    }

    /// Asks Laravel and counts the result.
    async fn query(
        &self,
        room: &RoomName,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<Verdict<Consent>, Error> {
        let (verdict, kind) = match room {
            RoomName::Ticket(id) => {
                let verdict = self.query_ticket(*id, auth_request, started).await;
                (verdict, "ticket")
            }
            RoomName::Channel(name) => {
                let verdict = self.query_channel(name, auth_request, started).await;
                (verdict, "channel")
            }
        };
        self.client.count_verdict(auth_request, &verdict, kind);
        verdict
    }

    /// Asks Laravel for a ticket.
    ///
    /// # Errors
    /// `TokenRejected` for 401; `Unavailable` for a status that `auth.ticket_path` does not give.
    async fn query_ticket(
        &self,
        ticket: RowId,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<Verdict<Consent>, Error> {
        let method = match self.settings.ticket_method {
            TicketMethod::Head => Method::HEAD,
            TicketMethod::Get => Method::GET,
        };
        let query = Query::new(method, self.settings.ticket_path.path(ticket));
        let status = self
            .client
            .fetch_status(query, auth_request, started)
            .await?;
        let ttl = self.settings.ticket_ttl.get();
        match status.as_u16() {
            200..=299 => Ok(Verdict {
                value: Some(Consent { user_info: None }),
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

    /// Asks Laravel for a channel, by the application's own `Broadcast::channel` rules.
    ///
    /// # Errors
    /// `TokenRejected` for 401; `Unavailable` for a response that decides nothing.
    async fn query_channel(
        &self,
        name: &ChannelName,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<Verdict<Consent>, Error> {
        let ttl = self.settings.ticket_ttl.get();
        let Some(path) = &self.settings.channel_path else {
            return Ok(Verdict { value: None, ttl });
        };
        let form = channel::form(name, auth_request.client.session);
        let query = Query::post(path.path(), form);
        let response = self.client.fetch(query, auth_request, started).await?;
        let value = channel::interpret(name, &response)?;
        Ok(Verdict { value, ttl })
    }
}

/// The denials and failures that are kept.
const MAX_DENIALS: NonZeroUsize = NonZeroUsize::new(1000).expect("above zero");
