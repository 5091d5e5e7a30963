//! Every session of the process, found by its user or its token.

use std::collections::hash_map;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Eviction, Outbox};
use crate::auth::TokenHash;
use crate::core::client::ClientIp;
use crate::core::ids::{SessionId, UserId};
use crate::core::units::PositiveCount;
use crate::limit::SessionRate;

/// The registry of sessions. Cheap to clone; clones are one.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Mutex<Registry>>);

#[derive(Debug)]
struct Registry {
    entries: HashMap<SessionId, Entry>,
    users: HashMap<UserId, UserSessions>,
    /// Tokens that were revoked lately. A session whose token Laravel still
    /// knew when it was asked, but no longer when it enters, is found here.
    revoked: LruCache<TokenHash, Instant>,
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

/// What the sessions of one user have together.
#[derive(Debug, Default)]
struct UserSessions {
    /// Those that may go on, oldest first.
    sessions: VecDeque<SessionId>,
    /// How fast they may join rooms.
    joins: Option<Arc<SessionRate>>,
}

#[derive(Debug)]
struct Entry {
    client: ClientIp,
    since: Instant,
    user: UserId,
    token: TokenHash,
    outbox: Outbox,
}

/// One session, for whoever looks.
#[derive(Clone, Copy, Debug)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// Where its client is.
    pub client: ClientIp,
    /// Its token's key.
    pub token: TokenHash,
    /// Since when it is open.
    pub since: Instant,
    /// Events that wait for it.
    pub queued: usize,
}

/// Keeps a session in the registry until it is dropped.
#[derive(Debug)]
pub struct Registration {
    session: SessionId,
    sessions: Sessions,
}

impl Sessions {
    /// Enters a session.
    #[must_use = "dropping it takes the session out again"]
    pub fn register(
        &self,
        session: SessionId,
        client: ClientIp,
        user: UserId,
        token: TokenHash,
        outbox: Outbox,
    ) -> Registration {
        let entry = Entry {
            client,
            since: Instant::now(),
            user,
            token,
            outbox,
        };
        let mut register = self.0.lock();
        let revoked = register.revoked.peek(&entry.token);
        if revoked.is_some_and(|when| when.elapsed() < REVOCATION_TTL) {
            entry.outbox.evict(Eviction::Revoked);
        }
        let user = entry.user.clone();
        register.entries.insert(session, entry);
        let of_user = register.users.entry(user).or_default();
        of_user.sessions.push_back(session);
        drop(register);
        Registration {
            session,
            sessions: self.clone(),
        }
    }

    /// Sessions at once.
    pub fn count(&self) -> usize {
        self.0.lock().entries.len()
    }

    /// Events that wait for clients to read them: all together, and those of
    /// the slowest.
    pub fn queued_events(&self) -> (usize, usize) {
        let register = self.0.lock();
        let queued = register
            .entries
            .values()
            .map(|entry| entry.outbox.queued_events());
        queued.fold((0, 0), |(sum, most), one| (sum + one, most.max(one)))
    }

    /// The sessions of `user`.
    pub fn of_user(&self, user: &UserId) -> Vec<OpenSession> {
        let register = self.0.lock();
        let entries = register
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

    /// Ends every session of `user`; returns how many.
    pub fn disconnect_user(&self, user: &UserId) -> usize {
        self.for_each(
            |entry| entry.user == *user,
            |outbox| outbox.evict(Eviction::Disconnected),
        )
    }

    /// Lets every session of `user` ask Laravel again; returns how many.
    pub fn revalidate_user(&self, user: &UserId) -> usize {
        self.for_each(|entry| entry.user == *user, Outbox::revalidate)
    }

    /// Lets every session that came with `token` ask Laravel again.
    pub fn revalidate_token(&self, token: &TokenHash) -> usize {
        self.for_each(|entry| entry.token == *token, Outbox::revalidate)
    }

    /// Ends every session that came with `token`, and those that are about to
    /// enter with it; returns how many were here.
    pub fn revoke(&self, token: &TokenHash) -> usize {
        self.0.lock().revoked.put(*token, Instant::now());
        self.for_each(
            |entry| entry.token == *token,
            |outbox| outbox.evict(Eviction::Revoked),
        )
    }

    fn for_each(&self, wanted: impl Fn(&Entry) -> bool, act: impl Fn(&Outbox)) -> usize {
        let register = self.0.lock();
        let wanted = register.entries.values().filter(|entry| wanted(entry));
        wanted.map(|entry| act(&entry.outbox)).count()
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
    /// Whether the user has more than `most` sessions with this one.
    pub fn exceeds(&self, most: PositiveCount) -> bool {
        let register = self.sessions.0.lock();
        let of_user = register.of_same_user(self.session);
        of_user.is_some_and(|all| all.sessions.len() > most.size())
    }

    /// The rate at which the user's sessions may join rooms, all together; the first of
    /// them brings it.
    pub fn join_rate(&self, new: impl FnOnce() -> SessionRate) -> Arc<SessionRate> {
        let mut guard = self.sessions.0.lock();
        let register = &mut *guard;
        let entry = register.entries.get(&self.session);
        let of_user = entry.and_then(|entry| register.users.get_mut(&entry.user));
        match of_user {
            Some(of_user) => Arc::clone(of_user.joins.get_or_insert_with(|| Arc::new(new()))),
            None => Arc::new(new()),
        }
    }

    /// Ends the oldest sessions of the user but for `most`.
    pub fn evict_oldest(&self, most: PositiveCount) {
        let mut guard = self.sessions.0.lock();
        let register = &mut *guard;
        let entry = register.entries.get(&self.session);
        let of_user = entry.and_then(|entry| register.users.get_mut(&entry.user));
        let Some(of_user) = of_user else {
            return;
        };
        while of_user.sessions.len() > most.size()
            && let Some(oldest) = of_user.sessions.pop_front()
        {
            if let Some(entry) = register.entries.get(&oldest) {
                entry.outbox.evict(Eviction::Superseded);
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

/// Longer than any question about a token can be on its way.
const REVOCATION_TTL: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::auth::Token;
    use crate::core::ids::SessionIds;

    #[tokio::test(start_paused = true)]
    async fn a_session_that_enters_with_a_revoked_token_is_ended() {
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
    async fn the_oldest_session_of_a_user_makes_way_and_only_that() {
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
