//! Revalidation of an open session: it asks Laravel again whether the token is valid and
//! the user may see the rooms. A denied right ends at once.
//!
//! After an invalidation (Laravel asked for a revalidation, or the outcome of a logout is
//! unknown) a right that Laravel does not confirm within `CONFIRM_TIMEOUT` ends, with a
//! code that lets the client reconnect. So users who make Laravel throttle them do not keep
//! a right that was taken from them. The periodic round waits for the end of a real outage,
//! in which Laravel grants nobody anything; otherwise it allows one more interval.

mod round;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) use self::round::{LostRight, OpenRights, RevalidationCause, RevalidationRound, Right};
use crate::core::ids::RoomName;

/// The round of requests that is under way.
pub(super) struct Revalidation {
    cause: RevalidationCause,
    start: Instant,
    findings: BoxStream<'static, LostRight>,
    open: Arc<Mutex<OpenRights>>,
    /// The start of another round, for a doubt that came soon after the start of this one.
    next_round: Option<Instant>,
}

impl Revalidation {
    /// Starts the requests of `round` about the token and `rooms`.
    pub(super) fn begin(round: RevalidationRound, rooms: Vec<RoomName>) -> Self {
        Self {
            cause: round.cause,
            start: round.start,
            open: Arc::clone(&round.open),
            findings: round.findings(rooms),
            next_round: None,
        }
    }

    /// Waits for the next lost right; none when the round is over. Cancel-safe.
    pub(super) fn next(&mut self) -> stream::Next<'_, BoxStream<'static, LostRight>> {
        self.findings.next()
    }

    /// Returns the time at which another round is due, if one is.
    pub(super) fn next_round(&self) -> Option<Instant> {
        self.next_round
    }

    /// Returns the rights that this round has not settled.
    pub(super) fn open_rights(&self) -> OpenRights {
        self.open.lock().clone()
    }

    /// Returns the cause and the open rights of a round for `cause` that replaces this one.
    /// Returns none if this one continues; after a doubt another round follows it.
    ///
    /// There is one round at a time. A doubt replaces the running round, whose responses may
    /// be older than the change. Doubts begin at most one round per second, since a client
    /// can raise them about its own token.
    pub(super) fn replace(
        &mut self,
        cause: RevalidationCause,
    ) -> Option<(RevalidationCause, OpenRights)> {
        match (cause, self.cause) {
            (RevalidationCause::Interval, _) => None,
            // The new round includes the rooms that the periodic one was to confirm: a doubt
            // about the token must not postpone them.
            (_, RevalidationCause::Interval) => {
                Some((RevalidationCause::Invalidated, OpenRights::new()))
            }
            (_, running_cause) => {
                let earliest = self.start + MIN_ROUND_INTERVAL;
                if Instant::now() < earliest {
                    self.next_round = Some(earliest);
                    return None;
                }
                let cause = if running_cause == RevalidationCause::Invalidated {
                    RevalidationCause::Invalidated
                } else {
                    cause
                };
                Some((cause, self.open_rights()))
            }
        }
    }

    /// Reports nothing more. The round is over, and another one follows when it is due.
    pub(super) fn wait_for_next_round(&mut self) {
        self.findings = stream::pending().boxed();
    }
}

/// The minimum time between the starts of two rounds for doubts.
const MIN_ROUND_INTERVAL: Duration = Duration::from_secs(1);
