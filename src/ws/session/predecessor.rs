//! The return of a client that knows no positions: an old front end joins its tickets again
//! only when its user selects one. A session that opens continues a lost one of the same
//! browser, its *predecessor*: it enters its rooms, and gets what their client has not
//! confirmed. The client sees these events, and nothing else. It has sent no command, so it gets
//! no `ticket_joined` and no error.
//!
//! A client that sends `since` knows better, and gets nothing by itself. The session waits for
//! that: until the client has read the greeting, which a pong shows, and a moment longer.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::super::protocol::TicketJoin;
use super::{CloseReason, LoopResult, Session};
use crate::core::ids::RoomName;
use crate::limit::Limit;
use crate::rooms::{Claim, Joined, PONG_TIMEOUT, Predecessor, Recovery, ResumePoint, Since};

/// The return of one session's client. It holds memory only until all rooms are entered.
#[derive(Debug)]
pub(super) struct Resumption {
    /// The time of the next look for the predecessor; none once it was found.
    look_at: Option<Instant>,
    /// The predecessor, which another session may claim if this one is lost.
    claim: Option<Claim>,
    /// The rooms of the predecessor that the session has yet to enter.
    rooms: HashMap<RoomName, ResumedRoom>,
}

/// A room of the predecessor.
#[derive(Debug)]
struct ResumedRoom {
    point: ResumePoint,
    /// Whether the client has not sent a command to join it.
    is_silent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins to look for a predecessor, if there may be one. Returns a ping to be sent with
    /// the greeting then.
    pub(super) fn begin_resumption(&mut self) -> Option<Message> {
        if !self.services.sessions.find_predecessors(self.id()) {
            return None;
        }
        self.resumption = Some(Box::new(Resumption {
            look_at: Some(Instant::now() + PONG_TIMEOUT),
            claim: None,
            rooms: HashMap::new(),
        }));
        Some(self.ping_frame())
    }

    /// Keeps what the client has for its return, if it may. Called while the session is
    /// registered: so a log-out finds it either open or parked.
    pub(super) fn park(&self, reason: CloseReason) {
        if reason.is_resumable() {
            self.services.sessions.park(self.id());
        } else if matches!(reason, CloseReason::Revoked) {
            self.services.sessions.drop_parked(&self.credential.hash());
        }
    }

    /// Returns the time of the next look for the predecessor.
    pub(super) fn resumption_due(&self) -> Option<Instant> {
        self.resumption.as_ref()?.look_at
    }

    /// Records a pong: the client has what came before its ping, the greeting included.
    pub(super) fn on_pong(&mut self, payload: &Bytes) {
        let Some(receipts) = self.socket.get_ref().receipts() else {
            return;
        };
        if receipts.confirm(payload) {
            self.schedule.plan_receipt();
        }
        let Some(look_at) = self.resumption_due() else {
            return;
        };
        if self.services.sessions.has_parked(self.id())
            && let Some(resumption) = &mut self.resumption
        {
            let soon = Instant::now() + GREETING_GRACE;
            resumption.look_at = Some(look_at.min(soon));
        }
    }

    /// Pings the client if it has yet to confirm some of what it was sent.
    pub(super) async fn request_receipt(&mut self) -> LoopResult {
        self.mark_rooms();
        let receipts = self.socket.get_ref().receipts();
        match receipts.and_then(|receipts| receipts.next_request()) {
            Some(mark) => {
                let payload = Bytes::copy_from_slice(&mark.to_bytes());
                self.activity.record();
                self.write([Message::Ping(payload)]).await
            }
            None => Ok(()),
        }
    }

    /// Records that the session has left a room.
    pub(super) fn record_exit(&mut self, room: &RoomName) {
        if self.socket.get_ref().receipts().is_some() {
            self.services.sessions.leave_room(self.id(), room);
            self.mark_rooms();
        }
    }

    /// Reports its rooms to the event log, or plans that.
    fn mark_rooms(&mut self) {
        let Some(receipts) = self.socket.get_ref().receipts() else {
            return;
        };
        if receipts.take_mark() {
            self.services.sessions.mark(self.id());
        } else if receipts.is_mark_due() {
            self.schedule.plan_receipt();
        }
    }

    /// Pings the client.
    pub(super) async fn ping(&mut self) -> LoopResult {
        self.mark_rooms();
        let ping = self.ping_frame();
        self.write([ping]).await
    }

    /// Makes a ping, which is to be sent at once. Its pong confirms what was sent before.
    fn ping_frame(&self) -> Message {
        self.activity.record();
        let receipts = self.socket.get_ref().receipts();
        let payload = receipts.map(|receipts| receipts.request().to_bytes());
        Message::Ping(payload.map_or_else(Bytes::new, |mark| Bytes::copy_from_slice(&mark)))
    }

    /// Claims the predecessor, or looks again later if it may be an open session. The client is
    /// about to join the room `joining` by itself.
    pub(super) fn look_for_predecessor(&mut self, joining: Option<&RoomName>) {
        match self.services.sessions.claim_predecessor(self.id()) {
            Predecessor::Claimed(claim) => self.continue_predecessor(claim, joining),
            Predecessor::Unknown(until) => {
                if let Some(resumption) = &mut self.resumption {
                    resumption.look_at = Some(until);
                }
            }
            Predecessor::None => self.resumption = None,
        }
    }

    /// Starts to enter the rooms of the predecessor.
    fn continue_predecessor(&mut self, mut claim: Claim, joining: Option<&RoomName>) {
        let rooms = claim.take_rooms();
        self.services.metrics.count_resumed_session();
        tracing::info!(
            name: "session_resumed",
            session = %self.id(), user = %self.user.id(), rooms = rooms.len(),
            "session resumed"
        );
        let mut pending = HashMap::new();
        for (room, point) in rooms {
            if self.rooms.contains_key(&room) {
                self.replay_late(&room, point);
                continue;
            }
            let is_joining = joining == Some(&room) || self.joins.is_pending(&room);
            let rooms = self.rooms.len() + self.joins.len();
            if !is_joining
                && rooms >= self.settings.max_rooms.size()
                && self.report_exceeded(Limit::MaxRooms)
            {
                break;
            }
            if !is_joining {
                self.start_join(room.clone(), Some(Since::Parked(point)));
            }
            let is_silent = !is_joining;
            pending.insert(room, ResumedRoom { point, is_silent });
        }
        self.resumption = Some(Box::new(Resumption {
            look_at: None,
            claim: Some(claim),
            rooms: pending,
        }));
        self.complete_resumption();
    }

    /// Replays what the client has missed in a room that it has joined by itself meanwhile.
    fn replay_late(&mut self, room: &RoomName, point: ResumePoint) {
        let receipts = self.socket.get_ref().receipts();
        let Some((membership, receipts)) = self.rooms.get(room).zip(receipts) else {
            return;
        };
        let Some(until) = receipts.entered_at(room) else {
            return;
        };
        let since = Since::Parked(point);
        let (recovery, since) = membership.replay(since, until, self.user.id(), &self.outbox);
        self.services.metrics.count_recovery(recovery.name());
        if let (Recovery::Complete(missed), Since::Parked(point)) = (recovery, since) {
            receipts.enter(room.clone(), point.offset, missed > 0);
            self.mark_rooms();
        }
    }

    /// Prepares a join that the client has sent. If the client knows its position, the edge
    /// enters no room for it. Otherwise the predecessor's position counts.
    pub(super) fn prepare_join(&mut self, room: &RoomName, has_position: bool) {
        let sessions = &self.services.sessions;
        if has_position {
            sessions.discard_parked_room(self.id(), room);
            self.cancel_look();
        } else if self.resumption_due().is_some() && sessions.has_parked_in(self.id(), room) {
            self.look_for_predecessor(Some(room));
        } else if let Some(resumption) = &mut self.resumption
            && let Some(resumed) = resumption.rooms.get_mut(room)
        {
            // Its late join now answers to the client.
            resumed.is_silent = false;
        }
    }

    /// Prepares the joins of a `resume`, which only clients send that know positions.
    pub(super) fn prepare_resume(&mut self, joins: &[TicketJoin]) {
        for (ticket, since) in joins {
            if since.is_some() {
                let room = RoomName::ticket(*ticket);
                let sessions = &self.services.sessions;
                sessions.discard_parked_room(self.id(), &room);
            }
        }
        self.cancel_look();
    }

    /// Looks for no predecessor any more. One that was found is continued.
    fn cancel_look(&mut self) {
        self.resumption
            .take_if(|resumption| resumption.look_at.is_some());
    }

    /// Returns whether the session enters `room` without a command of its client.
    pub(super) fn is_silent(&self, room: &RoomName) -> bool {
        let resumption = self.resumption.as_ref();
        let resumed = resumption.and_then(|resumption| resumption.rooms.get(room));
        resumed.is_some_and(|resumed| resumed.is_silent)
    }

    /// Ends the return to one room; returns the point after which its client lacks events.
    pub(super) fn take_resumed(&mut self, room: &RoomName) -> Option<ResumePoint> {
        let resumed = self.resumption.as_mut()?.rooms.remove(room)?;
        Some(resumed.point)
    }

    /// Ends the return once no room is left.
    pub(super) fn complete_resumption(&mut self) {
        let is_over = |resumption: &mut Box<Resumption>| {
            resumption.look_at.is_none() && resumption.rooms.is_empty()
        };
        if let Some(resumption) = self.resumption.take_if(is_over)
            && let Some(claim) = resumption.claim
        {
            claim.complete();
        }
    }

    /// Records that the session has entered a room, and what of it its client has.
    pub(super) fn record_entry(&mut self, room: &RoomName, joined: &Joined) {
        if let Some(receipts) = self.socket.get_ref().receipts()
            && let Some(position) = joined.position
        {
            let is_replayed = matches!(joined.recovery, Some(Recovery::Complete(1..)));
            receipts.enter(room.clone(), position.offset, is_replayed);
            self.mark_rooms();
        }
    }
}

/// The time that a client has to send `since` after it has read the greeting.
const GREETING_GRACE: Duration = Duration::from_millis(500);
