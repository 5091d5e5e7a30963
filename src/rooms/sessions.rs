//! The registry of all sessions of the process. Finds them by user or by token, to
//! disconnect, revoke or revalidate them, and limits the sessions of one user.

mod event_receipts;
mod guests;
mod returning;

use std::collections::hash_map;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

pub(crate) use self::event_receipts::EventReceipts;
use self::guests::Guest;
pub(crate) use self::returning::{PONG_TIMEOUT, Predecessor};
use super::parked::{Browser, ParkedSessions};
use super::receipts::PastReceipts;
use super::{Eviction, Outbox, Receipts};
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
    entries: HashMap<SessionId, SessionEntry>,
    guests: HashMap<SessionId, Guest>,
    users: HashMap<UserId, UserSessions>,
    /// Recently revoked tokens, with the time of the revocation. Catches a session whose
    /// token Laravel accepted before that, and which registers after it.
    revoked: LruCache<CredentialHash, Instant>,
    /// The sessions that were lost and may return; none if that is off. Locked under this
    /// registry, so that a log-out and a session that ends agree.
    parked: Option<ParkedSessions>,
    /// What sessions had confirmed in rooms that they have left.
    past_receipts: PastReceipts,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            guests: HashMap::new(),
            users: HashMap::new(),
            parked: None,
            past_receipts: PastReceipts::default(),
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

/// A session in the registry.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    /// The client's address.
    pub(crate) client: ClientIp,
    /// The time at which it registers.
    pub(crate) since: Instant,
    /// The user of the token.
    pub(crate) user: UserId,
    /// The token and the client that uses it.
    pub(crate) browser: Browser,
    /// The rooms' end of its delivery.
    pub(crate) outbox: Outbox,
    /// What its client has confirmed; none if clients without positions are not served.
    pub(crate) receipts: Option<Arc<Receipts>>,
}

impl SessionEntry {
    /// Returns whether `client` has opened the session with a cookie.
    fn is_opened_with_cookie_by(&self, client: ClientIp) -> bool {
        let is_same = self.client.key(IPV6_PREFIX_BITS) == client.key(IPV6_PREFIX_BITS);
        self.browser.token.is_cookie() && is_same
    }
}

/// A snapshot of one session, for reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenSession {
    /// The session's id.
    pub(crate) id: SessionId,
    /// The client's address.
    pub(crate) client: ClientIp,
    /// The hash of the session's token; none for a Pusher client.
    pub(crate) token: Option<CredentialHash>,
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
    /// Creates an empty registry. Lost sessions are kept in `parked`. The first event that a
    /// session can get has the offset `next_offset`.
    pub(crate) fn new(parked: Option<ParkedSessions>, next_offset: u64) -> Self {
        Self(Arc::new(Mutex::new(Registry {
            parked,
            past_receipts: PastReceipts::new(next_offset),
            ..Registry::default()
        })))
    }

    /// Adds a session, until the returned guard is dropped. If its token was revoked lately,
    /// evicts it at once.
    #[must_use = "dropping it takes the session out again"]
    pub(crate) fn register(&self, session: SessionId, entry: SessionEntry) -> Registration {
        let mut registry = self.0.lock();
        let revoked = registry.revoked.peek(&entry.browser.token);
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
        let registry = self.0.lock();
        registry.entries.len() + registry.guests.len()
    }

    /// Returns the number of events queued for all sessions together, and for the session
    /// with the longest queue.
    pub(crate) fn queued_events(&self) -> (usize, usize) {
        let registry = self.0.lock();
        let guests = registry.guests.values().map(|guest| &guest.outbox);
        let entries = registry.entries.values().map(|entry| &entry.outbox);
        let queued = entries.chain(guests).map(Outbox::queued_events);
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
            token: Some(entry.browser.token),
            since: entry.since,
            queued: entry.outbox.queued_events(),
        });
        let guests = registry
            .guests
            .iter()
            .filter(|(_, guest)| guest.users.contains(user));
        let guests = guests.map(|(id, guest)| OpenSession {
            id: *id,
            client: guest.client,
            token: None,
            since: guest.since,
            queued: guest.outbox.queued_events(),
        });
        open.chain(guests).collect()
    }

    /// Evicts every session of `user`, and drops those that were lost; returns the number of
    /// the former.
    pub(crate) fn disconnect_user(&self, user: &UserId) -> usize {
        let registry = self.0.lock();
        if let Some(parked) = &registry.parked {
            parked.drop_user(user);
        }
        registry.for_each_of_user(user, |outbox| outbox.evict(Eviction::Disconnected))
    }

    /// Makes every session of `user` ask Laravel about its rights again; returns their
    /// number.
    pub(crate) fn revalidate_user(&self, user: &UserId) -> usize {
        let registry = self.0.lock();
        registry.for_each_of_user(user, Outbox::revalidate)
    }

    /// Makes every session with `token` ask Laravel about its rights again; returns their
    /// number.
    pub(crate) fn revalidate_token(&self, token: &CredentialHash) -> usize {
        let registry = self.0.lock();
        registry.for_each(|entry| entry.browser.token == *token, Outbox::revalidate)
    }

    /// Makes the periodic revalidation of every session that `client` has opened with a cookie
    /// due early; returns their number.
    pub(crate) fn revalidate_cookies_of(&self, client: ClientIp) -> usize {
        let registry = self.0.lock();
        let is_match = |entry: &SessionEntry| entry.is_opened_with_cookie_by(client);
        registry.for_each(is_match, Outbox::revalidate_early)
    }

    /// Evicts every session with `token`, and those that register with it within five
    /// minutes; returns the number of the former. Drops those that were lost.
    pub(crate) fn revoke(&self, token: &CredentialHash) -> usize {
        let mut registry = self.0.lock();
        registry.revoked.put(*token, Instant::now());
        if let Some(parked) = &registry.parked {
            parked.drop_token(token);
        }
        registry.for_each(
            |entry| entry.browser.token == *token,
            |outbox| outbox.evict(Eviction::Revoked),
        )
    }
}

impl Registry {
    /// Runs `act` on the sessions that `matches` selects; returns their number.
    fn for_each(&self, matches: impl Fn(&SessionEntry) -> bool, act: impl Fn(&Outbox)) -> usize {
        let selected = self.entries.values().filter(|entry| matches(entry));
        selected.map(|entry| act(&entry.outbox)).count()
    }

    /// Runs `act` on the sessions of `user`; returns their number.
    fn for_each_of_user(&self, user: &UserId, act: impl Fn(&Outbox)) -> usize {
        let guests = self.guests.values();
        let guests = guests.filter(|guest| guest.users.contains(user));
        let guests = guests.map(|guest| act(&guest.outbox)).count();
        guests + self.for_each(|entry| entry.user == *user, act)
    }

    fn remove(&mut self, session: SessionId) {
        self.guests.remove(&session);
        let Some(entry) = self.entries.remove(&session) else {
            return;
        };
        self.forget(session, &entry);
        self.keep_receipts(session, &entry);
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
mod tests;
