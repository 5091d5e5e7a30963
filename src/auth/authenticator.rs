//! Authentication: asks Laravel for the user of a token, and caches the decision.

use std::sync::Arc;

use hyper::Method;
use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Verdict};
use super::client::{AuthResponse, Query};
use super::settings::{Settings, find_id};
use super::{AuthClient, AuthRequest, CredentialHash, Epoch, Error, Invalidations};
use crate::core::ids::UserId;
use crate::core::invisible_chars;
use crate::runtime::drain::Drain;

/// An authenticated user. Only this module creates one, out of what Laravel responds or signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    id: UserId,
    name: Arc<str>,
}

impl User {
    /// Returns the id in Laravel's users table.
    pub(crate) fn id(&self) -> &UserId {
        &self.id
    }

    /// Returns the name that other users see.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Creates the user whose id Laravel has signed. Their name is not known.
    pub(super) fn signed(id: UserId) -> Self {
        let name = nameless(&id);
        Self { id, name }
    }

    /// Creates a user for tests, without a Laravel.
    #[cfg(test)]
    pub(crate) fn for_test(id: u64) -> Self {
        Self {
            id: UserId::Number(id),
            name: format!("user{id}").into(),
        }
    }
}

/// A user, and the epoch of the request that identified them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthenticatedUser {
    /// The user, as Laravel's response names them.
    pub(crate) user: User,
    /// The epoch in which the request to Laravel began.
    pub(crate) epoch: Epoch,
}

/// Identifies the users of tokens. Cheap to clone; clones share the cache.
#[derive(Clone, Debug)]
pub(crate) struct Authenticator {
    client: AuthClient,
    settings: Arc<Settings>,
    cache: Cache<CredentialHash, User>,
    invalidations: Invalidations,
}

impl Authenticator {
    /// Creates an authenticator with an empty cache.
    pub(crate) fn new(
        auth_client: AuthClient,
        settings: Arc<Settings>,
        invalidations: Invalidations,
        drain: Drain,
    ) -> Self {
        let (entries, concurrency) = (
            settings.max_cache_entries,
            settings.max_concurrent_user_requests,
        );
        Self {
            client: auth_client,
            cache: Cache::new(entries, concurrency, invalidations.clone(), drain),
            invalidations,
            settings,
        }
    }

    /// Returns the user of the request's token, from the cache or from Laravel. Cancel-safe: a
    /// request that has begun completes without its caller.
    ///
    /// # Errors
    /// `Denied` if Laravel rejects the token or the user, `Unavailable` if it decides nothing.
    pub(crate) async fn identify(
        &self,
        mut auth_request: AuthRequest,
    ) -> Result<AuthenticatedUser, Error> {
        loop {
            let (this, request) = (self.clone(), auth_request.clone());
            let query = move |started| async move { this.query(&request, &started).await };
            let decision = self
                .cache
                .get(auth_request.secret, &auth_request, query)
                .await?;
            let user = decision.value.ok_or(Error::Denied)?;
            let epoch = decision.epoch;
            // Only the response names the user, so only now can their invalidations be looked
            // up. A decision from before the latest is asked for again.
            match self
                .invalidations
                .latest_after(user.id(), auth_request.secret, epoch)
            {
                Some(invalidated) => auth_request.since = Some(invalidated),
                None => return Ok(AuthenticatedUser { user, epoch }),
            }
        }
    }

    /// Drops the cached decision on a token: its next use asks Laravel again.
    pub(crate) fn forget(&self, token: &CredentialHash) {
        self.cache.forget(token);
    }

    /// Asks Laravel and counts the result.
    async fn query(
        &self,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<Verdict<User>, Error> {
        let query = Query::new(Method::GET, self.settings.user_path.path());
        let response = self.client.fetch(query, auth_request, started).await;
        let verdict = response.and_then(|response| self.interpret_response(&response));
        self.client.count_verdict(auth_request, &verdict, "user");
        verdict
    }

    /// Reads the user out of Laravel's response.
    ///
    /// # Errors
    /// `Unavailable` if the status or the body is not one that `auth.user_path` gives.
    fn interpret_response(&self, response: &AuthResponse) -> Result<Verdict<User>, Error> {
        let denied = Verdict {
            value: None,
            ttl: self.settings.denied_ttl.get(),
        };
        match response.status.as_u16() {
            200..=299 => {}
            401 | 403 => return Ok(denied),
            status => {
                let reason = format!("Laravel responded with {status}; is auth.user_path right?");
                return Err(Error::unavailable(reason));
            }
        }
        let user: serde_json::Value = serde_json::from_slice(&response.body).map_err(|_| {
            Error::unavailable("Laravel's response to auth.user_path is not JSON".to_owned())
        })?;
        if self
            .settings
            .deny_if
            .as_ref()
            .is_some_and(|refuse| refuse.matches(&user))
        {
            return Ok(denied);
        }
        let id = find_id(&self.settings.user_id, &user).ok_or_else(|| {
            Error::unavailable("auth.user_id names no value in Laravel's response".to_owned())
        })?;
        Ok(Verdict {
            value: Some(User {
                name: self.name(&user, &id),
                id,
            }),
            ttl: self.settings.user_ttl.get(),
        })
    }

    /// Returns the name that the first matching pointer finds, without hidden characters and
    /// at most [`MAX_NAME_CHARS`] long; if it is empty, `user` and the id.
    fn name(&self, user: &serde_json::Value, id: &UserId) -> Arc<str> {
        let pointers = &self.settings.user_name;
        let mut names = pointers
            .iter()
            .filter_map(|pointer| pointer.find(user)?.as_str());
        let name: String = names
            .next()
            .unwrap_or_default()
            .chars()
            .filter(is_shown)
            .take(MAX_NAME_CHARS)
            .collect();
        match name.trim() {
            "" => nameless(id),
            name => name.into(),
        }
    }
}

/// Returns what others see of a user without a name.
fn nameless(id: &UserId) -> Arc<str> {
    format!("user {id}").into()
}

/// Returns whether `c` may be part of a name that others see. Control characters, bidi
/// controls and invisible characters may not: "desk" with one of them looks like "desk".
fn is_shown(c: &char) -> bool {
    !c.is_control() && !invisible_chars::is_bidi_control(*c) && !invisible_chars::is_invisible(*c)
}

/// The maximum length of a display name.
const MAX_NAME_CHARS: usize = 100;
