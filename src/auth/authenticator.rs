//! From a token to the user it belongs to.

use std::sync::Arc;

use super::cache::{Cache, Verdict};
use super::client::{AuthResponse, unavailable};
use super::settings::{Settings, find_id};
use super::{AuthClient, AuthRequest, Epoch, Error, Invalidations, TokenHash};
use crate::core::bidi;
use crate::core::ids::UserId;
use crate::runtime::drain::Drain;

/// Somebody whom Laravel knows. Made only here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    id: UserId,
    name: Arc<str>,
}

impl User {
    /// The id in Laravel's users table.
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// The name that other users see.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A user for tests of the rooms, without a Laravel.
    #[cfg(test)]
    pub(crate) fn for_test(id: u64) -> Self {
        Self {
            id: UserId::Number(id),
            name: format!("user{id}").into(),
        }
    }
}

/// A user, and when Laravel was asked who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatedUser {
    /// Who it is.
    pub user: User,
    /// When the question began.
    pub asked: Epoch,
}

/// Finds out who a token belongs to. Cheap to clone; clones remember together.
#[derive(Clone, Debug)]
pub struct Authenticator {
    client: AuthClient,
    settings: Arc<Settings>,
    cache: Cache<TokenHash, User>,
    invalidations: Invalidations,
}

impl Authenticator {
    /// Knows nobody yet.
    pub fn new(
        auth_client: AuthClient,
        settings: Arc<Settings>,
        invalidations: Invalidations,
        drain: Drain,
    ) -> Self {
        let (entries, concurrency) = (settings.cache_entries, settings.identity_concurrency);
        Self {
            client: auth_client,
            cache: Cache::new(entries, concurrency, invalidations.clone(), drain),
            invalidations,
            settings,
        }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// Laravel refuses the token, or cannot be asked.
    pub async fn identify(
        &self,
        mut auth_request: AuthRequest,
    ) -> Result<AuthenticatedUser, Error> {
        loop {
            let (this, asked) = (self.clone(), auth_request.clone());
            let question = async move { this.query(&asked).await };
            let told = self
                .cache
                .get(auth_request.secret, &auth_request, question)
                .await?;
            let user = told.answer.ok_or(Error::Denied)?;
            match self
                .invalidations
                .latest_after(user.id(), auth_request.secret, told.epoch)
            {
                Some(doubt) => auth_request.since = Some(doubt),
                None => {
                    let asked = told.epoch;
                    return Ok(AuthenticatedUser { user, asked });
                }
            }
        }
    }

    /// Forgets what is known about a token: the next use asks Laravel again.
    pub fn forget(&self, token: &TokenHash) {
        self.cache.forget(token);
    }

    async fn query(&self, auth_request: &AuthRequest) -> Result<Verdict<User>, Error> {
        let path = self.settings.user_path.path();
        let answer = self.client.fetch(path, auth_request).await;
        let verdict = answer.and_then(|answer| self.interpret_response(&answer));
        self.client
            .count_verdict(auth_request, &verdict, METRIC_NAMES);
        verdict
    }

    fn interpret_response(&self, answer: &AuthResponse) -> Result<Verdict<User>, Error> {
        let denied = Verdict {
            answer: None,
            ttl: self.settings.refusal_ttl.get(),
        };
        match answer.status.as_u16() {
            200..=299 => {}
            401 | 403 => return Ok(denied),
            status => {
                let reason = format!("Laravel answered {status}; is auth.user_path right?");
                return Err(unavailable(reason));
            }
        }
        let user: serde_json::Value = serde_json::from_slice(&answer.body)
            .map_err(|_| unavailable("auth.user_path does not answer with JSON".to_owned()))?;
        if self
            .settings
            .refuse
            .as_ref()
            .is_some_and(|refuse| refuse.matches(&user))
        {
            return Ok(denied);
        }
        let id = find_id(&self.settings.user_id, &user).ok_or_else(|| {
            unavailable("auth.user_id points to nothing in Laravel's answer".to_owned())
        })?;
        Ok(Verdict {
            answer: Some(User {
                name: self.name(&user, &id),
                id,
            }),
            ttl: self.settings.identity_ttl.get(),
        })
    }

    /// The name that the pointers find, cut to a sane length; else the id.
    fn name(&self, user: &serde_json::Value, id: &UserId) -> Arc<str> {
        let pointers = &self.settings.user_name;
        let mut found = pointers
            .iter()
            .filter_map(|pointer| pointer.find(user)?.as_str());
        let name: String = found
            .next()
            .unwrap_or_default()
            .chars()
            .filter(is_shown)
            .take(MAX_NAME_CHARS)
            .collect();
        match name.trim() {
            "" => format!("user {id}").into(),
            name => name.into(),
        }
    }
}

/// Control characters and those that turn the direction of text or are invisible have
/// no place in a name that others see beside their own text: "desk" and an invisible sign
/// look like "desk".
fn is_shown(c: &char) -> bool {
    !c.is_control() && !bidi::is_bidi_control(*c) && !bidi::is_invisible(*c)
}

const METRIC_NAMES: [&str; 3] = ["user_known", "user_refused", "user_not_told"];

/// Characters of a display name.
const MAX_NAME_CHARS: usize = 100;
