//! What sessions had confirmed in rooms that they have left. Kept up to a bound, so that the edge
//! can tell who has an event although the session has ended since.

use std::collections::VecDeque;

use crate::core::ids::{RoomName, SessionId, UserId};

/// The events of a room that a session has confirmed: those after one offset, up to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rooms) struct ConfirmedRange {
    pub(in crate::rooms) room: RoomName,
    pub(in crate::rooms) after: u64,
    pub(in crate::rooms) through: u64,
}

/// The receipts of sessions that have left, the oldest first.
#[derive(Debug, Default)]
pub(in crate::rooms) struct PastReceipts {
    kept: VecDeque<PastReceipt>,
    /// No receipt of an event from this offset on was dropped.
    complete_from: u64,
}

#[derive(Debug)]
struct PastReceipt {
    session: SessionId,
    user: UserId,
    range: ConfirmedRange,
}

impl PastReceipts {
    /// Creates an empty list for events from the offset `first` on.
    pub(in crate::rooms) fn new(first: u64) -> Self {
        Self {
            kept: VecDeque::new(),
            complete_from: first,
        }
    }

    /// Adds what `session` has confirmed in a room that it leaves. Drops the oldest beyond
    /// [`MAX_PAST_RECEIPTS`].
    pub(in crate::rooms) fn push(
        &mut self,
        session: SessionId,
        user: &UserId,
        range: ConfirmedRange,
    ) {
        if range.after >= range.through {
            return;
        }
        if self.kept.len() >= MAX_PAST_RECEIPTS
            && let Some(oldest) = self.kept.pop_front()
        {
            self.complete_from = self.complete_from.max(oldest.range.through + 1);
        }
        self.kept.push_back(PastReceipt {
            session,
            user: user.clone(),
            range,
        });
    }

    /// Returns the sessions that had confirmed the event of `room` at `offset`.
    pub(in crate::rooms) fn confirmed(
        &self,
        room: &RoomName,
        offset: u64,
    ) -> impl Iterator<Item = (SessionId, &UserId)> {
        let matching = self.kept.iter().filter(move |past| {
            let range = &past.range;
            range.room == *room && range.after < offset && offset <= range.through
        });
        matching.map(|past| (past.session, &past.user))
    }

    /// Returns whether no receipt of the event at `offset` was dropped.
    pub(in crate::rooms) fn is_complete(&self, offset: u64) -> bool {
        offset >= self.complete_from
    }
}

/// The number of receipts that are kept, one for each room that a session has left. They take
/// about a MiB.
const MAX_PAST_RECEIPTS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{RowId, SessionIds};

    fn range(after: u64, through: u64) -> ConfirmedRange {
        let room = RoomName::Ticket(RowId::new(7).unwrap());
        ConfirmedRange {
            room,
            after,
            through,
        }
    }

    fn users(past: &PastReceipts, offset: u64) -> Vec<UserId> {
        let room = range(0, 0).room;
        let confirmed = past.confirmed(&room, offset);
        confirmed.map(|(_, user)| user.clone()).collect()
    }

    #[test]
    fn past_receipt_is_about_the_events_of_its_range() {
        let (mut past, session) = (PastReceipts::new(6), SessionIds::new().issue());
        assert!(!past.is_complete(5));
        assert!(past.is_complete(6));
        past.push(session, &UserId::Number(1), range(5, 5));
        past.push(session, &UserId::Number(2), range(5, 7));
        let found = [5, 6, 7, 8].map(|offset| users(&past, offset).len());
        assert_eq!(found, [0, 1, 1, 0]);
        assert_eq!(users(&past, 7), [UserId::Number(2)]);
        let other = RoomName::Ticket(RowId::new(8).unwrap());
        assert_eq!(past.confirmed(&other, 7).count(), 0);
    }

    #[test]
    fn past_receipts_are_bounded_and_know_what_they_lack() {
        let (mut past, session) = (PastReceipts::new(1), SessionIds::new().issue());
        past.push(session, &UserId::Number(2), range(5, 7));
        for offset in 10..10 + MAX_PAST_RECEIPTS as u64 {
            assert!(past.is_complete(7));
            past.push(session, &UserId::Number(3), range(offset, offset + 1));
        }
        assert_eq!(past.kept.len(), MAX_PAST_RECEIPTS);
        assert!(!past.is_complete(7));
        assert!(past.is_complete(8));
    }

    #[test]
    fn past_receipts_take_about_a_mib() {
        let bytes = MAX_PAST_RECEIPTS * size_of::<PastReceipt>();
        assert!(bytes <= 1024 * 1024, "{bytes} bytes");
    }
}
