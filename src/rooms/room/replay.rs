//! The events of a room that a session gets because its client has missed them.

use super::super::history::{Gap, History, Recovery, Since};
use super::super::{Outbox, Publication};
use super::{Room, State};
use crate::core::ids::UserId;

impl Room {
    /// Queues to a session of `user`, which has been a member since the offset `until`, what its
    /// client has missed before that. Returns what the replay counts from, too.
    pub(in crate::rooms) fn replay(
        &self,
        history: Option<&History>,
        since: Since,
        until: u64,
        user: &UserId,
        outbox: &Outbox,
    ) -> (Recovery, Since) {
        self.state
            .lock()
            .replay(history, since, until, user, outbox)
    }
}

impl State {
    /// See [`Room::replay`]. A parked session may have a second point for a gap after the first.
    pub(super) fn replay(
        &self,
        history: Option<&History>,
        since: Since,
        until: u64,
        user: &UserId,
        outbox: &Outbox,
    ) -> (Recovery, Since) {
        let recovery = self.try_replay(history, since, until, user, outbox);
        if let (Recovery::Incomplete(_), Since::Parked(point)) = (recovery, since)
            && let Some(point) = point.after_gap()
        {
            let since = Since::Parked(point);
            return (self.try_replay(history, since, until, user, outbox), since);
        }
        (recovery, since)
    }

    fn try_replay(
        &self,
        history: Option<&History>,
        since: Since,
        until: u64,
        user: &UserId,
        outbox: &Outbox,
    ) -> Recovery {
        let (Some(history), Some(kept)) = (history, &self.history) else {
            return Recovery::Incomplete(Gap::Disabled);
        };
        let is_before = |missed: &Publication| {
            missed
                .position()
                .is_some_and(|position| position.offset <= until)
        };
        match history.recover(since, kept, user) {
            Err(gap) => Recovery::Incomplete(gap),
            Ok(mut missed) => {
                missed.retain(|publication| is_before(publication));
                let bytes = missed.iter().map(|publication| publication.size()).sum();
                if !outbox.has_space_for(missed.len(), bytes) {
                    return Recovery::Incomplete(Gap::TooMuch);
                }
                self.members.replay(outbox, &missed);
                Recovery::Complete(missed.len())
            }
        }
    }
}
