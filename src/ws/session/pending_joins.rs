//! The joins that wait for Laravel's response. The session serves its client meanwhile. Only
//! a command about one of these rooms is held, and with it everything that follows it.
//!
//! A join that Laravel does not decide in time becomes a *late* one: the client is told so,
//! nothing is held for it any more, and the session continues to ask.
//!
//! The joins of a `resume` are *queued* until they start.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::protocol::{Command, TicketJoin, UploadCommand};
use super::throttle::JoinDelay;
use crate::auth::{Error, Grant};
use crate::core::ids::{RoomName, RowId};
use crate::rooms::Since;

/// Laravel's decision on one join.
#[derive(Debug)]
pub(super) struct JoinDecision {
    pub(super) room: RoomName,
    /// The client's last position in the room, if it returns.
    pub(super) since: Option<Since>,
    pub(super) grant: Result<Grant, Error>,
}

/// The pending joins of one session. It holds memory only while a join is pending, for most
/// sessions are idle.
#[derive(Default)]
pub(super) struct PendingJoins(Option<Box<Pending>>);

#[derive(Default)]
struct Pending {
    /// The requests. One whose join was cancelled returns none. A decision is boxed: the future
    /// of a parked session has no room for one.
    requests: FuturesUnordered<BoxFuture<'static, Option<Box<JoinDecision>>>>,
    rooms: HashSet<RoomName>,
    /// The late joins, each with the guard that cancels its request.
    late: HashMap<RoomName, DropGuard>,
    /// The joins that have not started.
    queued: VecDeque<TicketJoin>,
    /// Their delay, if the next one is over a rate.
    delay: Option<JoinDelay>,
    /// A command that must wait for one of the decisions.
    held: Option<Command>,
}

impl PendingJoins {
    /// Adds a join, which `request` decides.
    pub(super) fn begin(
        &mut self,
        room: RoomName,
        request: impl Future<Output = JoinDecision> + Send + 'static,
    ) {
        let pending = self.0.get_or_insert_default();
        pending.rooms.insert(room);
        let request = request.map(|decision| Some(Box::new(decision)));
        pending.requests.push(request.boxed());
    }

    /// Adds a late join, which `request` decides unless it is cancelled.
    pub(super) fn begin_late(
        &mut self,
        room: RoomName,
        request: impl Future<Output = JoinDecision> + Send + 'static,
    ) {
        let pending = self.0.get_or_insert_default();
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        pending.late.insert(room, guard);
        let request = async move {
            let decided = cancelled.run_until_cancelled(request).await;
            decided.map(Box::new)
        };
        pending.requests.push(request.boxed());
    }

    /// Queues joins, which no other queued ones precede.
    pub(super) fn queue(&mut self, joins: Vec<TicketJoin>) {
        if !joins.is_empty() {
            self.0.get_or_insert_default().queued = joins.into();
        }
    }

    /// Returns the queued join that is to start next: none while there is no place for one,
    /// or the rates delay it. One whose ticket has a pending join waits for its decision.
    pub(super) fn next_queued(&self) -> Option<TicketJoin> {
        let pending = self.0.as_deref()?;
        if pending.delay.is_some() || pending.rooms.len() >= MAX_PENDING_JOINS {
            return None;
        }
        let is_free = |ticket| !pending.rooms.contains(&RoomName::ticket(ticket));
        let mut queued = pending.queued.iter();
        queued.find(|(ticket, _)| is_free(*ticket)).copied()
    }

    /// Removes the queued join of `ticket`, if there is one: it starts, or the client leaves.
    pub(super) fn cancel_queued(&mut self, ticket: RowId) {
        if let Some(pending) = &mut self.0 {
            pending.queued.retain(|(queued, _)| *queued != ticket);
        }
    }

    /// Delays the queued joins.
    pub(super) fn delay(&mut self, delay: JoinDelay) {
        self.0.get_or_insert_default().delay = Some(delay);
    }

    /// Returns the time until which the queued joins are delayed, if they are.
    pub(super) fn delayed_until(&self) -> Option<Instant> {
        let delay = self.0.as_deref()?.delay.as_ref();
        delay.map(|delay| delay.until)
    }

    /// Ends and returns the delay, if it is over.
    pub(super) fn end_delay(&mut self) -> Option<JoinDelay> {
        let delay = &mut self.0.as_deref_mut()?.delay;
        delay.take_if(|delay| delay.until <= Instant::now())
    }

    /// Cancels the late join of `room`, if there is one.
    pub(super) fn cancel_late(&mut self, room: &RoomName) {
        if let Some(pending) = &mut self.0 {
            pending.late.remove(room);
        }
    }

    /// Returns whether the join of `room` is a late one.
    pub(super) fn is_late(&self, room: &RoomName) -> bool {
        self.0
            .as_ref()
            .is_some_and(|pending| pending.late.contains_key(room))
    }

    /// Returns whether a join of `room` is pending, be it a late one or not.
    pub(super) fn is_pending(&self, room: &RoomName) -> bool {
        let pending = self.0.as_ref();
        pending
            .is_some_and(|pending| pending.rooms.contains(room) || pending.late.contains_key(room))
    }

    /// Waits for the next decision, with whether its join was late; for ever while no join is
    /// pending. Cancel-safe.
    pub(super) async fn next(&mut self) -> (Box<JoinDecision>, bool) {
        let Some(pending) = &mut self.0 else {
            return std::future::pending().await;
        };
        while let Some(decided) = pending.requests.next().await {
            // A late join that was cancelled after its decision has left the list, too.
            if let Some(decision) = decided {
                let is_late = pending.late.remove(&decision.room).is_some();
                if is_late || pending.rooms.remove(&decision.room) {
                    return (decision, is_late);
                }
            }
        }
        std::future::pending().await
    }

    /// Returns whether there is a request to wait for.
    pub(super) fn has_any(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|pending| !pending.requests.is_empty())
    }

    /// Returns the number of pending joins, the late ones included.
    pub(super) fn len(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |pending| pending.rooms.len() + pending.late.len())
    }

    /// Returns whether `command` must wait for a decision.
    pub(super) fn affects(&self, command: &Command) -> bool {
        let Some(Pending { rooms, queued, .. }) = self.0.as_deref() else {
            return false;
        };
        let is_pending = |ticket| rooms.contains(&RoomName::ticket(ticket));
        let is_queued = |ticket| queued.iter().any(|(queued, _)| *queued == ticket);
        let is_undecided = |ticket| is_pending(ticket) || is_queued(ticket);
        match command {
            Command::Join { room, .. } => {
                rooms.contains(room) || !queued.is_empty() || rooms.len() >= MAX_PENDING_JOINS
            }
            Command::Resume(_) => !queued.is_empty(),
            Command::Leave(room) => rooms.contains(room),
            Command::Typing { ticket, .. } => is_undecided(*ticket),
            Command::Seen { ticket, .. } => {
                ticket.map_or(!rooms.is_empty() || !queued.is_empty(), is_undecided)
            }
            Command::Upload(UploadCommand::Start(start)) => is_undecided(start.ticket_id),
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
    /// left.
    pub(super) fn release(&mut self) -> Option<Command> {
        let held = self.0.as_mut()?.held.take();
        self.0
            .take_if(|pending| pending.requests.is_empty() && pending.queued.is_empty());
        held
    }
}

/// The joins of one session that may be pending at once: the requests of all sessions share
/// one queue to Laravel.
const MAX_PENDING_JOINS: usize = 16;
