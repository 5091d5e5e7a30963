//! The registry of all sessions of the process. Finds them by user or by token, to
//! disconnect, revoke or revalidate them, and limits the sessions of one user.

use std::collections::hash_map;
use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::{Eviction, Outbox};
use crate::auth::CredentialHash;
use crate::core::client_ip::ClientIp;
use crate::core::ids::{SessionId, UserId};
use crate::core::units::PositiveCount;
use crate::limit::SessionRate;
use crate::runtime::sync::Mutex;

/// The registry of sessions. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<Registry>>);

#[derive(Debug)]
struct Registry {
    entries: HashMap<SessionId, Entry>,
    users: HashMap<UserId, UserSessions>,
    /// Recently revoked tokens, with the time of the revocation. Catches a session whose
    /// token Laravel accepted before that, and which registers after it.
    revoked: LruCache<CredentialHash, Instant>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            users: HashMap::new(),
            revoked: LruCache::new(NonZeroUsize::new(10_000).expect("above zero")),
        }
    }
}

/// The sessions of one user, and the rate that they share.
#[derive(Debug, Default)]
struct UserSessions {
    /// The sessions, oldest first, without those evicted as superseded.
    sessions: VecDeque<SessionId>,
    /// The rate of their joins, once one of them has asked for it.
    joins: Option<Arc<SessionRate>>,
}

#[derive(Debug)]
struct Entry {
    client: ClientIp,
    since: Instant,
    user: UserId,
    token: CredentialHash,
    outbox: Outbox,
}

impl Entry {
    /// Returns whether `client` has opened the session with a cookie.
    fn is_opened_with_cookie_by(&self, client: ClientIp) -> bool {
        let is_same = self.client.key(IPV6_PREFIX_BITS) == client.key(IPV6_PREFIX_BITS);
        self.token.is_cookie() && is_same
    }
}

/// A snapshot of one session, for reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenSession {
    /// The session's id.
    pub(crate) id: SessionId,
    /// The client's address.
    pub(crate) client: ClientIp,
    /// The hash of the session's token.
    pub(crate) token: CredentialHash,
    /// The time at which it registered.
    pub(crate) since: Instant,
    /// The number of events queued for it.
    pub(crate) queued: usize,
}

/// Keeps a session in the registry until it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    session: SessionId,
    sessions: Sessions,
}

impl Sessions {
    /// Adds a session, until the returned guard is dropped. If its token was revoked lately,
    /// evicts it at once.
    #[must_use = "dropping it takes the session out again"]
    pub(crate) fn register(
        &self,
        session: SessionId,
        client: ClientIp,
        user: UserId,
        token: CredentialHash,
        outbox: Outbox,
    ) -> Registration {
        let entry = Entry {
            client,
            since: Instant::now(),
            user,
            token,
            outbox,
        };
        let mut registry = self.0.lock();
        let revoked = registry.revoked.peek(&entry.token);
        if revoked.is_some_and(|at| at.elapsed() < REVOCATION_TTL) {
            entry.outbox.evict(Eviction::Revoked);
        }
        let of_user = registry.users.entry(entry.user.clone()).or_default();
        of_user.sessions.push_back(session);
        registry.entries.insert(session, entry);
        drop(registry);
        Registration {
            session,
            sessions: self.clone(),
        }
    }

    /// Returns the number of sessions.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().entries.len()
    }

    /// Returns the number of events queued for all sessions together, and for the session
    /// with the longest queue.
    pub(crate) fn queued_events(&self) -> (usize, usize) {
        let registry = self.0.lock();
        let queued = registry
            .entries
            .values()
            .map(|entry| entry.outbox.queued_events());
        queued.fold((0, 0), |(sum, max), one| (sum + one, max.max(one)))
    }

    /// Returns the sessions of `user`, in no order.
    pub(crate) fn of_user(&self, user: &UserId) -> Vec<OpenSession> {
        let registry = self.0.lock();
        let entries = registry
            .entries
            .iter()
            .filter(|(_, entry)| entry.user == *user);
        let open = entries.map(|(id, entry)| OpenSession {
            id: *id,
            client: entry.client,
            token: entry.token,
            since: entry.since,
            queued: entry.outbox.queued_events(),
        });
        open.collect()
    }

    /// Evicts every session of `user`; returns their number.
    pub(crate) fn disconnect_user(&self, user: &UserId) -> usize {
        self.for_each(
            |entry| entry.user == *user,
            |outbox| outbox.evict(Eviction::Disconnected),
        )
    }

    /// Makes every session of `user` ask Laravel about its rights again; returns their
    /// number.
    pub(crate) fn revalidate_user(&self, user: &UserId) -> usize {
        self.for_each(|entry| entry.user == *user, Outbox::revalidate)
    }

    /// Makes every session with `token` ask Laravel about its rights again; returns their
    /// number.
    pub(crate) fn revalidate_token(&self, token: &CredentialHash) -> usize {
        self.for_each(|entry| entry.token == *token, Outbox::revalidate)
    }

    /// Returns the session cookies, by their hash, with which `client` has opened sessions.
    pub(crate) fn cookies_of(&self, client: ClientIp) -> HashSet<CredentialHash> {
        let registry = self.0.lock();
        let entries = registry.entries.values();
        let of_client = entries.filter(|entry| entry.is_opened_with_cookie_by(client));
        of_client.map(|entry| entry.token).collect()
    }

    /// Makes every session that `client` has opened with a cookie ask Laravel about its rights
    /// again; returns their number.
    pub(crate) fn revalidate_cookies_of(&self, client: ClientIp) -> usize {
        let is_match = |entry: &Entry| entry.is_opened_with_cookie_by(client);
        self.for_each(is_match, Outbox::revalidate)
    }

    /// Evicts every session with `token`, and those that register with it within five
    /// minutes; returns the number of the former.
    pub(crate) fn revoke(&self, token: &CredentialHash) -> usize {
        self.0.lock().revoked.put(*token, Instant::now());
        self.for_each(
            |entry| entry.token == *token,
            |outbox| outbox.evict(Eviction::Revoked),
        )
    }

    /// Runs `act` on the sessions that `matches` selects, under the registry's lock; returns
    /// their number.
    fn for_each(&self, matches: impl Fn(&Entry) -> bool, act: impl Fn(&Outbox)) -> usize {
        let registry = self.0.lock();
        let selected = registry.entries.values().filter(|entry| matches(entry));
        selected.map(|entry| act(&entry.outbox)).count()
    }
}

impl Registry {
    fn remove(&mut self, session: SessionId) {
        let Some(entry) = self.entries.remove(&session) else {
            return;
        };
        if let hash_map::Entry::Occupied(mut of_user) = self.users.entry(entry.user) {
            of_user.get_mut().sessions.retain(|one| *one != session);
            if of_user.get().sessions.is_empty() {
                of_user.remove();
            }
        }
    }
}

impl Registration {
    /// Returns whether the user has more than `max` sessions, this one included.
    pub(crate) fn exceeds(&self, max: PositiveCount) -> bool {
        let registry = self.sessions.0.lock();
        let of_user = registry.of_same_user(self.session);
        of_user.is_some_and(|all| all.sessions.len() > max.size())
    }

    /// Returns the rate of joins that all sessions of the user share. The first caller
    /// creates it by `new`.
    pub(crate) fn join_rate(&self, new: impl FnOnce() -> SessionRate) -> Arc<SessionRate> {
        let mut guard = self.sessions.0.lock();
        let registry = &mut *guard;
        let entry = registry.entries.get(&self.session);
        match entry.and_then(|entry| registry.users.get_mut(&entry.user)) {
            Some(of_user) => Arc::clone(of_user.joins.get_or_insert_with(|| Arc::new(new()))),
            None => Arc::new(new()),
        }
    }

    /// Evicts the oldest sessions of the user until `max` are left.
    pub(crate) fn evict_oldest(&self, max: PositiveCount) {
        let mut guard = self.sessions.0.lock();
        let registry = &mut *guard;
        let entry = registry.entries.get(&self.session);
        let Some(of_user) = entry.and_then(|entry| registry.users.get_mut(&entry.user)) else {
            return;
        };
        while of_user.sessions.len() > max.size()
            && let Some(oldest_id) = of_user.sessions.pop_front()
        {
            if let Some(oldest) = registry.entries.get(&oldest_id) {
                oldest.outbox.evict(Eviction::Superseded);
            }
        }
    }
}

impl Registry {
    fn of_same_user(&self, session: SessionId) -> Option<&UserSessions> {
        self.users.get(&self.entries.get(&session)?.user)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.0.lock().remove(self.session);
    }
}

/// The time for which a revoked token is kept: longer than a request to Laravel about a token
/// can be on its way.
const REVOCATION_TTL: Duration = Duration::from_secs(300);
/// The IPv6 prefix in which one client changes its address.
const IPV6_PREFIX_BITS: u32 = 64;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::auth::Token;
    use crate::core::ids::SessionIds;

    #[tokio::test(start_paused = true)]
    async fn session_registered_with_a_revoked_token_is_evicted() {
        let (sessions, ids) = (Sessions::default(), SessionIds::new());
        let token = Token::new("3|ana").map(|token| token.hash()).unwrap();
        let here = ClientIp::new([127, 0, 0, 1].into());
        let enter = || {
            let (outbox, inbox) = super::super::channel(1, 1, None);
            (
                sessions.register(ids.issue(), here, UserId::Number(3), token, outbox),
                inbox,
            )
        };
        let before = enter();
        assert_eq!(sessions.revoke(&token), 1);
        let after = enter();
        for (_, inbox) in [&before, &after] {
            assert_eq!(inbox.evicted().now_or_never(), Some(Eviction::Revoked));
        }
        drop((before, after));
        assert_eq!(sessions.count(), 0);
    }

    #[tokio::test]
    async fn user_over_the_session_limit_loses_only_the_oldest() {
        let (sessions, ids) = (Sessions::default(), SessionIds::new());
        let here = ClientIp::new([127, 0, 0, 1].into());
        let token = Token::new("3|ana").map(|token| token.hash()).unwrap();
        let enter = |user| {
            let (outbox, inbox) = super::super::channel(1, 1, None);
            let user = UserId::Number(user);
            let entered = sessions.register(ids.issue(), here, user, token, outbox);
            if entered.exceeds(PositiveCount::new(2)) {
                entered.evict_oldest(PositiveCount::new(2));
            }
            (entered, inbox)
        };
        let (first, second, other) = (enter(3), enter(3), enter(4));
        let third = enter(3);
        let ended = |one: &(Registration, crate::rooms::Inbox)| one.1.evicted().now_or_never();
        assert_eq!(ended(&first), Some(Eviction::Superseded));
        assert_eq!([ended(&second), ended(&third), ended(&other)], [None; 3]);
        drop(second);
        let fourth = enter(3);
        assert_eq!([ended(&third), ended(&fourth)], [None; 2]);
        // A reload may allow fewer.
        fourth.0.evict_oldest(PositiveCount::new(1));
        assert_eq!(ended(&third), Some(Eviction::Superseded));
        assert_eq!([ended(&fourth), ended(&other)], [None; 2]);
        drop((first, third, fourth, other));
        assert!(sessions.0.lock().users.is_empty());
    }
}
