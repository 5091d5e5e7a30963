//! The joins of a `resume`: many tickets in one message of the client. Each starts when there
//! is a place for it and the rates allow it. Until then the client's other commands continue.

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::protocol::TicketJoin;
use super::{LoopResult, Session};
use crate::core::ids::RoomName;
use crate::limit::Limit;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Queues the joins of a `resume`, and starts the first ones.
    pub(super) async fn resume(&mut self, joins: Vec<TicketJoin>) -> LoopResult {
        let max_rooms = self.settings.max_rooms.size();
        if joins.len() > max_rooms && self.report_exceeded(Limit::MaxRooms) {
            let message = format!(
                "resume names {} tickets; a session can be in {max_rooms} rooms",
                joins.len()
            );
            return self.send_error("too_many_rooms", &message, None).await;
        }
        self.prepare_resume(&joins);
        self.joins.queue(joins);
        Box::pin(self.continue_joins()).await
    }

    /// Starts queued joins, then executes a command that was held for one of them.
    pub(super) async fn continue_joins(&mut self) -> LoopResult {
        self.start_queued_joins().await?;
        match self.joins.release() {
            Some(command) => self.execute(command).await,
            None => Ok(()),
        }
    }

    /// Starts the queued joins that have a place. A join over its rate waits, and those behind
    /// it with it, which ends no session: there are no more of them than rooms.
    ///
    /// A ticket whose room the session is in counts against the rates, too: the client gets
    /// many responses to one message.
    async fn start_queued_joins(&mut self) -> LoopResult {
        let mut last_delay = self.joins.end_delay();
        while let Some((ticket, since)) = self.joins.next_queued() {
            let is_counted = last_delay.as_ref().is_some_and(|delay| delay.is_counted);
            if let Err(delay) = self.rates.check_queued_join(is_counted)
                && (last_delay.is_some() || self.report_exceeded(Limit::JoinsPerMinute))
            {
                self.joins.delay(delay);
                return Ok(());
            }
            last_delay = None;
            self.joins.cancel_queued(ticket);
            let room = RoomName::Ticket(ticket);
            if self.needs_decision(&room).await? {
                self.start_join(room, since);
            }
        }
        Ok(())
    }
}
