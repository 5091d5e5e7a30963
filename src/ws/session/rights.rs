//! The rights of an open session: when they are revalidated, and the end of one that is lost.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::revalidation::{
    LostRight, OpenRights, Revalidation, RevalidationCause, RevalidationRound, Right,
};
use super::{CloseReason, LoopResult, Session};
use crate::auth::Epoch;
use crate::core::ids::RoomName;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins a round, whose results [`Session::apply_finding`] handles, unless the running
    /// one [continues](Revalidation::replace). With `since`, decisions cached from before do
    /// not count.
    pub(super) fn start_revalidation(&mut self, cause: RevalidationCause, since: Option<Epoch>) {
        let next = match &mut self.revalidation {
            Some(running) => running.replace(cause),
            None => Some((cause, OpenRights::new())),
        };
        if let Some((cause, open)) = next {
            self.begin_round(cause, since, open);
        }
    }

    /// Starts the requests of a round, in place of the running one.
    fn begin_round(&mut self, cause: RevalidationCause, since: Option<Epoch>, open: OpenRights) {
        let rooms = match cause {
            RevalidationCause::TokenDoubt => Vec::new(),
            RevalidationCause::Invalidated | RevalidationCause::Interval => {
                self.rooms.keys().cloned().collect()
            }
        };
        let round = RevalidationRound {
            backend: self.services.backend.clone(),
            user: self.user.clone(),
            credential: self.credential.clone(),
            client_context: self.client_context.clone(),
            cause,
            since,
            start: Instant::now(),
            interval: self.settings.revalidate_interval.get(),
            open: Arc::new(Mutex::new(open)),
        };
        self.revalidation = Some(Box::new(Revalidation::begin(round, rooms)));
    }

    /// Begins the round that a doubt during the last one requested.
    pub(super) fn begin_next_round(&mut self) {
        let revalidation = &mut self.revalidation;
        if let Some(last) = revalidation.take_if(|round| round.next_round().is_some()) {
            let since = self.services.invalidations.next_epoch();
            let open = last.open_rights();
            self.begin_round(RevalidationCause::Invalidated, Some(since), open);
        }
    }

    /// Ends the right that was lost; without one the round is over.
    pub(super) async fn apply_finding(&mut self, finding: Option<LostRight>) -> LoopResult {
        let Some(lost) = finding else {
            // A next round begins when it is due; until then this one reports nothing.
            match self.revalidation.as_mut() {
                Some(round) if round.next_round().is_some() => {
                    round.wait_for_next_round();
                }
                _ => self.revalidation = None,
            }
            return Ok(());
        };
        match (lost.right, lost.is_denied) {
            (Right::Token, true) => Err(CloseReason::Revoked),
            (Right::Token, false) => {
                // Laravel is unavailable or throttles the user, or the token is another user's now.
                tracing::warn!(
                    name: "user_revalidation_failed",
                    session = %self.id(), user = %self.user.id(),
                    "user revalidation failed"
                );
                Err(CloseReason::Unavailable)
            }
            (Right::Room(room), is_denied) => self.remove_room(&room, is_denied).await,
        }
    }

    /// Takes the session out of a room, and tells the client whether it was denied or only not
    /// confirmed.
    async fn remove_room(&mut self, room: &RoomName, is_denied: bool) -> LoopResult {
        if let (RoomName::Ticket(ticket), true) = (room, is_denied) {
            self.uploads.remove_ticket(*ticket);
        }
        if !self.leave(room) {
            return Ok(());
        }
        let (session, user) = (self.id(), self.user.id());
        if is_denied {
            tracing::info!(
                name: "room_access_revoked",
                %session, %user, %room, "room access revoked"
            );
            let message = match room {
                RoomName::Ticket(_) => "This ticket is no longer open to you",
                RoomName::Channel(_) => "This channel is no longer open to you",
            };
            self.send_error("access_withdrawn", message, Some(room))
                .await
        } else {
            tracing::warn!(
                name: "room_revalidation_failed",
                %session, %user, %room, "room revalidation failed"
            );
            let message = match room {
                RoomName::Ticket(_) => {
                    "Your right to this ticket could not be confirmed; join it again"
                }
                RoomName::Channel(_) => {
                    "Your right to this channel could not be confirmed; join it again"
                }
            };
            self.send_error("access_unconfirmed", message, Some(room))
                .await
        }
    }
}
