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

/// The pending joins of one session. It holds memory only while a join is pending, for most
/// sessions are idle.
#[derive(Default)]
pub(super) struct PendingJoins(Option<Box<Pending>>);

#[derive(Default)]
struct Pending {
    requests: FuturesUnordered<BoxFuture<'static, JoinDecision>>,
    rooms: HashSet<RoomName>,
    /// A command that must wait for one of the decisions.
    held: Option<Command>,
}

impl PendingJoins {
    /// Adds a join, which `request` decides.
    pub(super) fn begin(&mut self, room: RoomName, request: BoxFuture<'static, JoinDecision>) {
        let pending = self.0.get_or_insert_default();
        pending.rooms.insert(room);
        pending.requests.push(request);
    }

    /// Waits for the next decision; for ever while no join is pending. Cancel-safe.
    pub(super) async fn next(&mut self) -> JoinDecision {
        let Some(pending) = &mut self.0 else {
            return std::future::pending().await;
        };
        match pending.requests.next().await {
            Some(decision) => {
                pending.rooms.remove(&decision.0);
                decision
            }
            None => std::future::pending().await,
        }
    }

    /// Returns the number of pending joins.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |pending| pending.rooms.len())
    }

    /// Returns whether `command` must wait for a decision.
    pub(super) fn affects(&self, command: &Command) -> bool {
        let Some(Pending { rooms, .. }) = self.0.as_deref() else {
            return false;
        };
        let is_pending = |ticket| rooms.contains(&RoomName::ticket(ticket));
        match *command {
            Command::Join(ticket) => is_pending(ticket) || rooms.len() >= MAX_PENDING_JOINS,
            Command::Leave(ticket) | Command::Typing { ticket, .. } => is_pending(ticket),
            Command::Seen { ticket, .. } => ticket.map_or(!rooms.is_empty(), is_pending),
            Command::Upload(UploadCommand::Start(ref start)) => is_pending(start.ticket_id),
            Command::Upload(_) | Command::Ping => false,
        }
    }

    /// Holds `command`, which [`affects`](Self::affects) has found to depend on a join. None
    /// is held yet: nothing is read while one is.
    pub(super) fn hold(&mut self, command: Command) {
        self.0.get_or_insert_default().held = Some(command);
    }

    /// Returns whether a command is held.
    pub(super) fn is_holding(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|pending| pending.held.is_some())
    }

    /// Takes the held command, to be executed or held again. Frees the memory if no join is
    /// pending.
    pub(super) fn release(&mut self) -> Option<Command> {
        let held = self.0.as_mut()?.held.take();
        if self.len() == 0 {
            self.0 = None;
        }
        held
    }
}

/// The joins of one session that may be pending at once: the requests of all sessions share
/// one queue to Laravel.
const MAX_PENDING_JOINS: usize = 16;
