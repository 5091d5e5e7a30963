//! The users who have confirmed one event. It is found out when Laravel asks, from the receipts
//! that the sessions have anyway, so that no event costs more. Only what sessions had confirmed
//! that have left the room since is kept for this.

use std::collections::HashSet;

use super::{Registry, SessionEntry, Sessions};
use crate::core::ids::{RoomName, SessionId, UserId};
use crate::rooms::Publication;

/// The users who have confirmed an event, and those who may yet. A user with several sessions
/// can be in several of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventReceipts {
    /// The users of whom a session has confirmed it.
    pub(crate) confirmed: HashSet<UserId>,
    /// The users with an open session that is to get it and has not confirmed it.
    pub(crate) pending: HashSet<UserId>,
    /// The users with a lost session that gets it if its client returns.
    pub(crate) parked: HashSet<UserId>,
    /// Whether the edge still knows of each session that has confirmed it.
    pub(crate) is_complete: bool,
}

impl Sessions {
    /// Returns the users who have confirmed `event`, and those who may yet.
    pub(crate) fn receipts(&self, event: &Publication) -> EventReceipts {
        let (room, offset) = (event.room(), event.position().map_or(0, |at| at.offset));
        let registry = self.0.lock();
        let mut receipts = EventReceipts {
            is_complete: registry.past_receipts.is_complete(offset),
            ..EventReceipts::default()
        };
        for (session, user) in registry.past_receipts.confirmed(room, offset) {
            if event.is_for(session, Some(user)) {
                receipts.confirmed.insert(user.clone());
            }
        }
        for (session, entry) in &registry.entries {
            let range = entry.receipts.as_ref().and_then(|own| own.range_in(room));
            // A session that joined after the event was not to get it.
            let range = range.filter(|range| range.after < offset);
            let Some(range) = range.filter(|_| event.is_for(*session, Some(&entry.user))) else {
                continue;
            };
            let users = if offset <= range.through {
                &mut receipts.confirmed
            } else {
                &mut receipts.pending
            };
            users.insert(entry.user.clone());
        }
        let parked = registry.parked.as_ref();
        let lost = parked.map_or_else(Vec::new, |parked| parked.lacking(room, offset));
        for (session, user) in lost {
            // One that is open still is pending.
            if !registry.entries.contains_key(&session) && event.is_for(session, Some(&user)) {
                receipts.parked.insert(user);
            }
        }
        receipts
    }

    /// Removes a room that a session has left from its receipts.
    pub(crate) fn leave_room(&self, session: SessionId, room: &RoomName) {
        let mut guard = self.0.lock();
        let registry = &mut *guard;
        if let Some(entry) = registry.entries.get(&session)
            && let Some(receipts) = &entry.receipts
            && let Some(range) = receipts.leave(room)
        {
            registry.past_receipts.push(session, &entry.user, range);
        }
    }
}

impl Registry {
    /// Keeps what the client of a session that ends has confirmed.
    pub(super) fn keep_receipts(&mut self, session: SessionId, entry: &SessionEntry) {
        let ranges = entry.receipts.as_ref().map(|receipts| receipts.ranges());
        for range in ranges.into_iter().flatten() {
            self.past_receipts.push(session, &entry.user, range);
        }
    }
}
