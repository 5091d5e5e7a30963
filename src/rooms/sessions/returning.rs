//! Sessions that are lost and return, of clients that know no positions. A session that ends is
//! parked, unless it was evicted for good. A session that opens looks for its predecessor: a
//! parked session, or an open one that no longer answers pings because its connection is dead.

use std::time::Duration;

use tokio::time::Instant;

use super::super::parked::{Browser, Claim, LostSession};
use super::{Registry, SessionEntry, Sessions};
use crate::auth::CredentialHash;
use crate::core::ids::{RoomName, SessionId};
use crate::rooms::Eviction;

/// The session that another one continues.
#[derive(Debug)]
pub(crate) enum Predecessor {
    /// A session that was lost.
    Claimed(Claim),
    /// Perhaps an open one, which has until then to answer a ping.
    Unknown(Instant),
    /// There is none.
    None,
}

impl Sessions {
    /// Parks a session that ends, so that its client may return: unless it was evicted for
    /// good, or another session continues it.
    pub(crate) fn park(&self, session: SessionId) {
        let registry = self.0.lock();
        let Some(entry) = registry.entries.get(&session) else {
            return;
        };
        // Checked under this lock: a log-out that comes later finds the parked session.
        match entry.outbox.eviction() {
            None | Some(Eviction::Slow) => registry.park(session, entry),
            Some(Eviction::Revoked | Eviction::Disconnected | Eviction::Superseded) => {}
        }
    }

    /// Reports to the event log the rooms of a session and what its client has of them.
    pub(crate) fn mark(&self, session: SessionId) {
        let registry = self.0.lock();
        if let Some(parked) = &registry.parked
            && let Some(entry) = registry.entries.get(&session)
            && let Some(open) = entry.snapshot(session)
        {
            if open.rooms.is_empty() {
                parked.marks().push_ended(session);
            } else {
                parked.marks().push_session(&open, false);
            }
        }
    }

    /// Drops the parked sessions of a token that Laravel rejects.
    pub(crate) fn drop_parked(&self, token: &CredentialHash) {
        if let Some(parked) = &self.0.lock().parked {
            parked.drop_token(token);
        }
    }

    /// Returns whether `session` may have a predecessor. Older sessions of its browser are
    /// pinged, to find out which of them are dead.
    pub(crate) fn find_predecessors(&self, session: SessionId) -> bool {
        let registry = self.0.lock();
        let (Some(parked), Some(entry)) = (&registry.parked, registry.entries.get(&session)) else {
            return false;
        };
        let mut has_any = parked.has(entry.browser);
        for (_, older) in registry.older_of_browser(session, entry) {
            if let Some(receipts) = &older.receipts
                && receipts.has_rooms()
            {
                receipts.expect_pong();
                older.outbox.ping();
                has_any = true;
            }
        }
        has_any
    }

    /// Returns whether a parked session of the browser of `session` may return.
    pub(crate) fn has_parked(&self, session: SessionId) -> bool {
        let registry = self.0.lock();
        registry.has_parked(session, |parked, browser| parked.has(browser))
    }

    /// Returns whether a parked session of the browser of `session` was in `room`.
    pub(crate) fn has_parked_in(&self, session: SessionId, room: &RoomName) -> bool {
        let registry = self.0.lock();
        registry.has_parked(session, |parked, browser| parked.has_room(browser, room))
    }

    /// Claims the predecessor of `session`: the oldest parked session of its browser. Without
    /// one, those open sessions of its browser count that have not answered a ping for
    /// [`PONG_TIMEOUT`].
    pub(crate) fn claim_predecessor(&self, session: SessionId) -> Predecessor {
        let registry = self.0.lock();
        let (Some(parked), Some(entry)) = (&registry.parked, registry.entries.get(&session)) else {
            return Predecessor::None;
        };
        let claim = || parked.claim(entry.browser, &entry.user);
        if let Some(claimed) = claim() {
            return Predecessor::Claimed(claimed);
        }
        let (now, mut next) = (Instant::now(), None::<Instant>);
        for (id, older) in registry.older_of_browser(session, entry) {
            let unanswered = older
                .receipts
                .as_ref()
                .and_then(|receipts| receipts.unanswered_since());
            let Some(until) = unanswered.map(|since| since + PONG_TIMEOUT) else {
                continue;
            };
            if until <= now {
                registry.park(id, older);
            } else {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        match (claim(), next) {
            (Some(claimed), _) => Predecessor::Claimed(claimed),
            (None, Some(until)) => Predecessor::Unknown(until),
            (None, None) => Predecessor::None,
        }
    }

    /// Drops `room` from the oldest parked session of the browser of `session`: the client
    /// knows its position there.
    pub(crate) fn discard_parked_room(&self, session: SessionId, room: &RoomName) {
        let registry = self.0.lock();
        if let (Some(parked), Some(entry)) = (&registry.parked, registry.entries.get(&session)) {
            parked.discard_room(entry.browser, room);
        }
    }
}

impl SessionEntry {
    /// Returns what its client has, if that is known.
    fn snapshot(&self, session: SessionId) -> Option<LostSession> {
        let receipts = self.receipts.as_ref()?;
        Some(LostSession {
            session,
            user: self.user.clone(),
            browser: self.browser,
            rooms: receipts.confirmed(),
        })
    }
}

impl Registry {
    /// Parks a session, unless that was done.
    fn park(&self, session: SessionId, entry: &SessionEntry) {
        if let (Some(parked), Some(receipts)) = (&self.parked, &entry.receipts)
            && receipts.supersede()
        {
            parked.park(entry.snapshot(session).expect("it has receipts"));
        }
    }

    /// Reports to the event log that a session has ended, unless it is parked.
    pub(super) fn forget(&self, session: SessionId, entry: &SessionEntry) {
        if let (Some(parked), Some(receipts)) = (&self.parked, &entry.receipts)
            && receipts.has_rooms()
            && receipts.supersede()
        {
            parked.marks().push_ended(session);
        }
    }

    fn has_parked(
        &self,
        session: SessionId,
        check: impl Fn(&super::ParkedSessions, Browser) -> bool,
    ) -> bool {
        match (&self.parked, self.entries.get(&session)) {
            (Some(parked), Some(entry)) => check(parked, entry.browser),
            _ => false,
        }
    }

    /// Returns the sessions of the same user and browser that opened before `session`.
    fn older_of_browser(
        &self,
        session: SessionId,
        entry: &SessionEntry,
    ) -> impl Iterator<Item = (SessionId, &SessionEntry)> {
        let browser = entry.browser;
        let of_user = self.users.get(&entry.user);
        let sessions = of_user
            .into_iter()
            .flat_map(|of_user| of_user.sessions.iter());
        let older = sessions.copied().take_while(move |id| *id != session);
        let entries = older.filter_map(|id| Some((id, self.entries.get(&id)?)));
        entries.filter(move |(_, older)| older.browser == browser)
    }
}

/// The time that an open session has to answer a ping before it counts as lost.
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::parked::ParkedSessions;
    use super::super::super::{Inbox, channel};
    use super::super::Registration;
    use super::super::tests::entry;
    use super::*;
    use crate::core::ids::{RowId, SessionIds};
    use crate::core::units::PositiveCount;

    /// An open session in room 7.
    struct Tab {
        id: SessionId,
        inbox: Inbox,
        registration: Registration,
    }

    fn room() -> RoomName {
        RoomName::ticket(RowId::new(7).unwrap())
    }

    fn sessions() -> Sessions {
        let parked = ParkedSessions::new(Duration::from_secs(120), Arc::default());
        Sessions::new(Some(parked), 0)
    }

    fn open(sessions: &Sessions) -> Tab {
        let (outbox, inbox) = channel(8, 1024, None);
        let id = SessionIds::new().issue();
        let entry = entry(id, 3, outbox);
        entry.receipts.as_ref().unwrap().enter(room(), 5, false);
        Tab {
            id,
            inbox,
            registration: sessions.register(id, entry),
        }
    }

    fn claim(sessions: &Sessions, tab: &Tab) -> Option<u64> {
        match sessions.claim_predecessor(tab.id) {
            Predecessor::Claimed(mut claim) => {
                let offset = claim.take_rooms()[0].1.offset;
                claim.complete();
                Some(offset)
            }
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn session_that_ends_is_parked_unless_evicted_for_good() {
        for (eviction, is_parked) in [
            (None, true),
            (Some(Eviction::Slow), true),
            (Some(Eviction::Revoked), false),
            (Some(Eviction::Disconnected), false),
            (Some(Eviction::Superseded), false),
        ] {
            let sessions = sessions();
            let tab = open(&sessions);
            let registry = sessions.0.lock();
            if let Some(reason) = eviction {
                registry.entries[&tab.id].outbox.evict(reason);
            }
            drop(registry);
            sessions.park(tab.id);
            let next = open(&sessions);
            assert_eq!(sessions.has_parked(next.id), is_parked, "{eviction:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn revoked_and_disconnected_are_parked_no_more() {
        let sessions = sessions();
        let acts: [fn(&Sessions); 3] = [
            |sessions| {
                let token = sessions.0.lock().entries.values().next().unwrap().browser;
                sessions.drop_parked(&token.token);
            },
            |sessions| {
                let user = sessions
                    .0
                    .lock()
                    .entries
                    .values()
                    .next()
                    .unwrap()
                    .user
                    .clone();
                sessions.disconnect_user(&user);
            },
            |sessions| {
                let token = sessions.0.lock().entries.values().next().unwrap().browser;
                sessions.revoke(&token.token);
            },
        ];
        for act in acts {
            let lost = open(&sessions);
            sessions.park(lost.id);
            drop(lost.registration);
            let tab = open(&sessions);
            assert!(sessions.has_parked(tab.id));
            act(&sessions);
            assert!(!sessions.has_parked(tab.id));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn open_session_without_a_pong_is_the_predecessor_after_three_seconds() {
        let sessions = sessions();
        let dead = open(&sessions);
        let tab = open(&sessions);
        assert!(sessions.find_predecessors(tab.id));
        assert!(matches!(
            dead.inbox.next().await,
            crate::rooms::SessionEvent::Ping
        ));
        assert!(matches!(
            sessions.claim_predecessor(tab.id),
            Predecessor::Unknown(until) if until == Instant::now() + PONG_TIMEOUT
        ));
        tokio::time::advance(PONG_TIMEOUT).await;
        assert_eq!(claim(&sessions, &tab), Some(5));
        // It is continued once, and not parked at its end.
        sessions.park(dead.id);
        assert_eq!(claim(&sessions, &open(&sessions)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn open_session_with_a_pong_is_no_predecessor() {
        let sessions = sessions();
        let first = open(&sessions);
        let tab = open(&sessions);
        // The younger one is none for the older one.
        assert!(!sessions.find_predecessors(first.id));
        assert!(sessions.find_predecessors(tab.id));
        let receipts = sessions.0.lock().entries[&first.id]
            .receipts
            .clone()
            .unwrap();
        receipts.confirm(&receipts.request().to_bytes());
        tokio::time::advance(PONG_TIMEOUT).await;
        assert!(matches!(
            sessions.claim_predecessor(tab.id),
            Predecessor::None
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn superseded_session_is_not_parked() {
        let sessions = sessions();
        let (oldest, newest) = (open(&sessions), open(&sessions));
        newest.registration.evict_oldest(PositiveCount::new(1));
        sessions.park(oldest.id);
        assert!(!sessions.has_parked(newest.id));
    }
}
