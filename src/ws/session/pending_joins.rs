//! Joins that Laravel is being asked about. Meanwhile the session goes on: only
//! a command about one of these rooms waits, and what comes after it.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::super::protocol::{Command, UploadCommand};
use crate::auth::{Error, Grant};
use crate::core::ids::RoomName;

/// Laravel's word on one join.
pub(super) type JoinDecision = (RoomName, Result<Grant, Error>);

#[derive(Default)]
pub(super) struct PendingJoins {
    asking: FuturesUnordered<BoxFuture<'static, JoinDecision>>,
    rooms: HashSet<RoomName>,
    /// A command that cannot be done before one of them is decided.
    held: Option<Command>,
}

impl PendingJoins {
    pub(super) fn begin(&mut self, room: RoomName, asking: BoxFuture<'static, JoinDecision>) {
        self.rooms.insert(room);
        self.asking.push(asking);
    }

    /// The next decision; pending for ever while nothing is asked. Cancel-safe.
    pub(super) async fn next(&mut self) -> JoinDecision {
        match self.asking.next().await {
            Some(decision) => {
                self.rooms.remove(&decision.0);
                decision
            }
            None => std::future::pending().await,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether `command` must wait for a decision.
    pub(super) fn affects(&self, command: &Command) -> bool {
        let about = |ticket| self.rooms.contains(&RoomName::ticket(ticket));
        match *command {
            Command::Join(ticket) => about(ticket) || self.rooms.len() >= MAX_PENDING_JOINS,
            Command::Leave(ticket) | Command::Typing { ticket, .. } => about(ticket),
            Command::Seen { ticket, .. } => ticket.map_or(!self.rooms.is_empty(), about),
            Command::Upload(UploadCommand::Start(ref start)) => about(start.ticket_id),
            Command::Upload(_) | Command::Ping => false,
        }
    }

    pub(super) fn hold(&mut self, command: Command) {
        self.held = Some(command);
    }

    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn release(&mut self) -> Option<Command> {
        self.held.take()
    }
}

/// Joins of one session that may be asked about at once: the questions of all
/// sessions stand in one queue.
const MAX_PENDING_JOINS: usize = 16;
