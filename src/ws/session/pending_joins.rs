//! The joins that wait for Laravel's response. The session serves its client meanwhile. Only
//! a command about one of these rooms is held, and with it everything that follows it.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::super::protocol::{Command, UploadCommand};
use crate::auth::{Error, Grant};
use crate::core::ids::RoomName;

/// Laravel's decision on one join.
pub(super) type JoinDecision = (RoomName, Result<Grant, Error>);

/// The pending joins of one session.
#[derive(Default)]
pub(super) struct PendingJoins {
    requests: FuturesUnordered<BoxFuture<'static, JoinDecision>>,
    rooms: HashSet<RoomName>,
    /// A command that must wait for one of the decisions.
    held: Option<Command>,
}

impl PendingJoins {
    /// Adds a join, which `request` decides.
    pub(super) fn begin(&mut self, room: RoomName, request: BoxFuture<'static, JoinDecision>) {
        self.rooms.insert(room);
        self.requests.push(request);
    }

    /// Waits for the next decision; for ever while no join is pending. Cancel-safe.
    pub(super) async fn next(&mut self) -> JoinDecision {
        match self.requests.next().await {
            Some(decision) => {
                self.rooms.remove(&decision.0);
                decision
            }
            None => std::future::pending().await,
        }
    }

    /// Returns the number of pending joins.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Returns whether `command` must wait for a decision.
    pub(super) fn affects(&self, command: &Command) -> bool {
        let is_pending = |ticket| self.rooms.contains(&RoomName::ticket(ticket));
        match *command {
            Command::Join(ticket) => is_pending(ticket) || self.rooms.len() >= MAX_PENDING_JOINS,
            Command::Leave(ticket) | Command::Typing { ticket, .. } => is_pending(ticket),
            Command::Seen { ticket, .. } => ticket.map_or(!self.rooms.is_empty(), is_pending),
            Command::Upload(UploadCommand::Start(ref start)) => is_pending(start.ticket_id),
            Command::Upload(_) | Command::Ping => false,
        }
    }

    /// Holds `command`. There is none yet: nothing is read while one is held.
    pub(super) fn hold(&mut self, command: Command) {
        self.held = Some(command);
    }

    /// Returns whether a command is held.
    pub(super) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the held command, to be executed or held again.
    pub(super) fn release(&mut self) -> Option<Command> {
        self.held.take()
    }
}

/// The joins of one session that may be pending at once: the requests of all sessions share
/// one queue to Laravel.
const MAX_PENDING_JOINS: usize = 16;
