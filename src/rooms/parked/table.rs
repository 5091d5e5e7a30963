//! The table of parked sessions. Plain data.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::history::MarkQueue;
use super::lost_session::MAX_ROOMS;
use super::{Browser, LostSession, ResumePoint};
use crate::auth::{AgentHash, CredentialHash};
use crate::core::ids::{RoomName, SessionId, UserId};

/// The parked sessions, by token.
#[derive(Debug)]
pub(super) struct Table {
    timeout: Duration,
    /// The way into the event log.
    marks: Arc<MarkQueue>,
    tokens: HashMap<CredentialHash, SmallVec<[ParkedSession; 1]>>,
    /// The tokens of each user that has parked sessions.
    users: HashMap<UserId, SmallVec<[CredentialHash; 1]>>,
    /// All sessions in the order in which they were parked, and some that are gone.
    order: VecDeque<(u64, CredentialHash)>,
    len: usize,
    next_id: u64,
}

#[derive(Debug)]
struct ParkedSession {
    id: u64,
    session: SessionId,
    agent: AgentHash,
    user: UserId,
    since: Instant,
    /// The rooms in the order of the joins, at most [`MAX_ROOMS`], each with the offset up to
    /// which the client has all events.
    rooms: Box<[(RoomName, u64)]>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The next session of its browser may claim it.
    Free,
    /// A session that returned enters its rooms.
    Claimed,
    /// A session has entered its rooms, perhaps one of another tab. It lends them to the rest
    /// of its browser.
    Continued,
}

impl Table {
    pub(super) fn new(timeout: Duration, marks: Arc<MarkQueue>) -> Self {
        Self {
            timeout,
            marks,
            tokens: HashMap::new(),
            users: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
            next_id: 0,
        }
    }

    /// Returns the number of sessions that no other one continues yet.
    pub(super) fn count(&self) -> usize {
        let sessions = self.tokens.values().flatten();
        sessions.filter(|one| one.is_lost()).count()
    }

    pub(super) fn park(&mut self, lost: LostSession, now: Instant) {
        self.drop_expired(now);
        if lost.rooms.is_empty() {
            return;
        }
        self.marks.push_session(&lost, true);
        let LostSession {
            session,
            user,
            browser,
            mut rooms,
        } = lost;
        let of_token = self.tokens.get(&browser.token);
        let mut lost = of_token.into_iter().flatten().filter(|one| one.is_lost());
        if let Some(oldest) = lost.next().map(|one| one.id)
            && lost.count() + 1 >= MAX_SESSIONS_PER_TOKEN
        {
            self.remove(&browser.token, |one| one.id == oldest);
        }
        while self.len >= MAX_SESSIONS
            && let Some((id, token)) = self.order.pop_front()
        {
            self.remove(&token, |one| one.id == id);
        }
        rooms.drain(..rooms.len().saturating_sub(MAX_ROOMS));
        let parked = ParkedSession {
            id: self.next_id,
            session,
            agent: browser.agent,
            user: user.clone(),
            since: now,
            rooms: rooms.into(),
            state: State::Free,
        };
        self.next_id += 1;
        self.order.push_back((parked.id, browser.token));
        self.tokens.entry(browser.token).or_default().push(parked);
        let tokens = self.users.entry(user).or_default();
        if !tokens.contains(&browser.token) {
            tokens.push(browser.token);
        }
        self.len += 1;
        self.compact_order();
    }

    /// Claims a session; returns its id and the rooms of all sessions of its browser, its own
    /// first.
    pub(super) fn claim(
        &mut self,
        browser: Browser,
        user: &UserId,
        now: Instant,
    ) -> Option<(u64, Vec<(RoomName, ResumePoint)>)> {
        self.drop_expired(now);
        let of_token = self.tokens.get_mut(&browser.token)?;
        let is_free = |one: &ParkedSession| one.is_free(browser) && one.user == *user;
        let claimed = of_token.iter_mut().find(|one| is_free(one))?;
        claimed.state = State::Claimed;
        let id = claimed.id;
        let of_browser = |one: &&ParkedSession| one.agent == browser.agent && one.user == *user;
        let mut lenders: SmallVec<[_; 8]> = of_token.iter().filter(of_browser).collect();
        lenders.sort_by_key(|one| (one.id != id, !one.is_lost()));
        Some((id, shared_rooms(&lenders)))
    }

    /// Ends a claim: removes the session, unless others of its browser borrow its rooms, or
    /// leaves it to the next one that returns.
    pub(super) fn end_claim(&mut self, token: &CredentialHash, id: u64, is_complete: bool) {
        let Some(of_token) = self.tokens.get_mut(token) else {
            return;
        };
        let continued = of_token.iter().filter(|one| !one.is_lost()).count();
        let Some(one) = of_token.iter_mut().find(|one| one.id == id) else {
            return;
        };
        one.state = if is_complete {
            State::Continued
        } else {
            State::Free
        };
        // The older ones lend more.
        let is_over = is_complete && continued >= MAX_CONTINUED_PER_TOKEN;
        self.remove(token, |one| is_over && one.id == id);
    }

    pub(super) fn has(&mut self, browser: Browser, now: Instant) -> bool {
        self.drop_expired(now);
        self.free_of(browser).next().is_some()
    }

    pub(super) fn has_room(&mut self, browser: Browser, room: &RoomName, now: Instant) -> bool {
        self.drop_expired(now);
        let mut lenders = self.tokens.get(&browser.token).into_iter().flatten();
        self.free_of(browser).next().is_some()
            && lenders.any(|one| one.is_lender(browser) && one.has_room(room))
    }

    pub(super) fn discard_room(&mut self, browser: Browser, room: &RoomName) {
        let Some(of_token) = self.tokens.get_mut(&browser.token) else {
            return;
        };
        let mut lenders = of_token.iter_mut().filter(|one| one.is_lender(browser));
        let Some(one) = lenders.find(|one| one.has_room(room)) else {
            return;
        };
        let rooms = std::mem::take(&mut one.rooms).into_vec().into_iter();
        one.rooms = rooms.filter(|(name, _)| name != room).collect();
        if one.rooms.is_empty() {
            let id = one.id;
            self.remove(&browser.token, |one| one.id == id);
        }
    }

    pub(super) fn drop_token(&mut self, token: &CredentialHash) {
        self.remove(token, |_| true);
    }

    pub(super) fn drop_user(&mut self, user: &UserId) {
        for token in self.users.get(user).cloned().unwrap_or_default() {
            self.remove(&token, |one| one.user == *user);
        }
    }

    pub(super) fn drop_expired(&mut self, now: Instant) {
        while let Some((id, token)) = self.order.front().copied() {
            let of_token = self.tokens.get(&token).into_iter().flatten();
            let oldest = of_token.clone().find(|one| one.id == id);
            if oldest.is_some_and(|one| now < one.since + self.timeout) {
                break;
            }
            self.order.pop_front();
            self.remove(&token, |one| one.id == id);
        }
    }

    pub(super) fn is_expected(&mut self, user: &UserId, room: &RoomName, now: Instant) -> bool {
        self.drop_expired(now);
        let tokens = self.users.get(user).into_iter().flatten();
        let mut sessions = tokens.flat_map(|token| self.tokens.get(token).into_iter().flatten());
        sessions.any(|one| one.user == *user && one.has_room(room))
    }

    pub(super) fn lacking(
        &mut self,
        room: &RoomName,
        offset: u64,
        now: Instant,
    ) -> Vec<(SessionId, UserId)> {
        self.drop_expired(now);
        let lacks = |one: &&ParkedSession| {
            let mut rooms = one.rooms.iter();
            rooms.any(|(name, confirmed)| name == room && *confirmed < offset)
        };
        let sessions = self.tokens.values().flatten().filter(lacks);
        sessions
            .map(|one| (one.session, one.user.clone()))
            .collect()
    }

    fn free_of(&self, browser: Browser) -> impl Iterator<Item = &ParkedSession> {
        let of_token = self.tokens.get(&browser.token).into_iter().flatten();
        of_token.filter(move |one| one.is_free(browser))
    }

    /// Removes the sessions of `token` that `matches` selects, and the continued ones that lend
    /// their rooms to none. They stay in the order.
    fn remove(&mut self, token: &CredentialHash, matches: impl Fn(&ParkedSession) -> bool) {
        let Some(of_token) = self.tokens.get_mut(token) else {
            return;
        };
        let before = of_token.len();
        let mut users: SmallVec<[UserId; 1]> = SmallVec::new();
        let borrowers: SmallVec<[(AgentHash, UserId); 4]> = of_token
            .iter()
            .filter(|one| one.is_lost() && !matches(one))
            .map(|one| (one.agent, one.user.clone()))
            .collect();
        let is_useless = |one: &ParkedSession| {
            let mut borrowers = borrowers.iter();
            !borrowers.any(|(agent, user)| *agent == one.agent && *user == one.user)
        };
        of_token.retain(|one| {
            let is_removed = matches(one) || is_useless(one);
            if is_removed {
                self.marks.push_ended(one.session);
                users.push(one.user.clone());
            }
            !is_removed
        });
        self.len -= before - of_token.len();
        users.retain(|user| of_token.iter().all(|one| one.user != *user));
        if of_token.is_empty() {
            self.tokens.remove(token);
        }
        for user in users {
            if let Some(tokens) = self.users.get_mut(&user) {
                tokens.retain(|one| *one != *token);
                if tokens.is_empty() {
                    self.users.remove(&user);
                }
            }
        }
    }

    /// Bounds the order: sessions that were claimed or dropped leave it late.
    fn compact_order(&mut self) {
        if self.order.len() > 2 * self.len + MIN_ORDER {
            let tokens = &self.tokens;
            self.order.retain(|(id, token)| {
                let of_token = tokens.get(token).into_iter().flatten();
                of_token.clone().any(|one| one.id == *id)
            });
        }
    }
}

impl ParkedSession {
    fn is_free(&self, browser: Browser) -> bool {
        self.agent == browser.agent && self.state == State::Free
    }

    /// Returns whether its rooms count for the next session of `browser`, if there is one.
    fn is_lender(&self, browser: Browser) -> bool {
        self.agent == browser.agent && self.state != State::Claimed
    }

    /// Returns whether no session continues it yet.
    fn is_lost(&self) -> bool {
        self.state != State::Continued
    }

    fn has_room(&self, room: &RoomName) -> bool {
        self.rooms.iter().any(|(name, _)| name == room)
    }
}

/// Returns the rooms of all `sessions`, each with the points of all that were there.
fn shared_rooms(sessions: &[&ParkedSession]) -> Vec<(RoomName, ResumePoint)> {
    let mut shared: Vec<(RoomName, ResumePoint)> = Vec::new();
    for one in sessions {
        for (room, offset) in &one.rooms {
            match shared.iter_mut().find(|(name, _)| name == room) {
                Some((_, point)) => point.merge(*offset),
                None => shared.push((room.clone(), ResumePoint::new(one.session, *offset))),
            }
        }
    }
    shared.truncate(MAX_SHARED_ROOMS);
    shared
}

/// The parked sessions of one token.
pub(super) const MAX_SESSIONS_PER_TOKEN: usize = 4;
/// The sessions of one token that are continued and lend their rooms.
pub(super) const MAX_CONTINUED_PER_TOKEN: usize = 4;
/// The rooms that one session enters when it returns.
const MAX_SHARED_ROOMS: usize = MAX_SESSIONS_PER_TOKEN * MAX_ROOMS;
/// The parked sessions of all tokens.
pub(super) const MAX_SESSIONS: usize = 20_000;
/// The length of the order below which it is not compacted.
const MIN_ORDER: usize = 64;

#[cfg(test)]
impl Table {
    /// Returns the heap memory of one session with as many rooms as possible, and of its places
    /// in the maps, in bytes.
    pub(super) fn max_session_bytes() -> usize {
        let rooms = MAX_ROOMS * size_of::<(RoomName, u64)>();
        let entry = size_of::<(CredentialHash, SmallVec<[ParkedSession; 1]>)>();
        let user = size_of::<(UserId, SmallVec<[CredentialHash; 1]>)>();
        // A hash map and a deque are at least half full after they have grown, but for the
        // slots that a map leaves empty; the order has two places for a session.
        let order = 2 * size_of::<(u64, CredentialHash)>();
        rooms + 2 * (entry + user) + order
    }

    /// Returns the number of sessions, the continued ones included.
    pub(super) fn session_count(&self) -> usize {
        self.len
    }

    /// Returns the number of tokens, of users, and of places in the order.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.tokens.len(), self.users.len(), self.order.len())
    }
}
