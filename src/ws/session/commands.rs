//! The commands of a session's client: join and leave a ticket or a channel, typing, seen and
//! ping.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{self, Message};

use super::super::protocol::{self, Command, Event, Present, Recovered, RoomField};
use super::io::close_reason;
use super::pending_joins::JoinDecision;
use super::revalidation::RevalidationCause;
use super::throttle::RateLimited;
use super::{CloseReason, LoopResult, Session};
use crate::auth::{self, AuthRequest, Grant, retry_while_unavailable};
use crate::core::ids::{RoomName, RowId};
use crate::core::position::Position;
use crate::limit::Limit;
use crate::rooms::{Audience, EventKind, Membership, PresentUser, Recovery, Since};

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Handles a frame of the client. Any frame is a sign of life. All but pongs and the
    /// chunks of uploads count against the message rate. A pong is no activity, so a flood of
    /// them ends the session as a control flood.
    pub(super) async fn on_frame(
        &mut self,
        frame: Option<Result<Message, tungstenite::Error>>,
    ) -> LoopResult {
        let frame = match frame {
            None => return Err(CloseReason::Lost),
            Some(Err(error)) => return Err(close_reason(&error)),
            Some(Ok(frame)) => frame,
        };
        self.schedule.record_activity(&self.settings);
        if !frame.is_pong() {
            self.activity.record();
        }
        match frame {
            // An upload has a rate of its own. A frame that is no part of one is counted there.
            Message::Binary(frame) => {
                self.services.metrics.count_message("upload_chunk");
                self.on_chunk(&frame).await
            }
            Message::Pong(payload) => {
                self.on_pong(&payload);
                Ok(())
            }
            frame => self.run_rate_limited(RateLimited::Message(frame)).await,
        }
    }

    /// Executes a frame that has passed the rates.
    pub(super) async fn execute_frame(&mut self, frame: Message) -> LoopResult {
        match frame {
            Message::Text(text) => match protocol::decode(&text) {
                Ok(command) => {
                    self.services.metrics.count_message(command.name());
                    self.execute(command).await
                }
                Err(error) => {
                    self.services.metrics.count_message(error.code());
                    self.send_error(error.code(), &error.to_string(), None)
                        .await
                }
            },
            Message::Close(_) => Err(CloseReason::Client),
            // tungstenite has queued the pong, which leaves with the next flush.
            Message::Ping(_) => self.write([]).await,
            Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    /// Executes `command`, or holds it while a join that it depends on is pending.
    pub(super) async fn execute(&mut self, command: Command) -> LoopResult {
        if self.joins.affects(&command) {
            self.joins.hold(command);
            return Ok(());
        }
        match command {
            Command::Join { room, since } => self.join(room, since).await,
            Command::Resume(joins) => self.resume(joins).await,
            Command::Leave(room) => {
                if let RoomName::Ticket(ticket) = room {
                    self.joins.cancel_queued(ticket);
                }
                self.joins.cancel_late(&room);
                self.take_resumed(&room);
                self.complete_resumption();
                self.leave(&room);
                Ok(())
            }
            Command::Typing { ticket, on } => match self.rooms.get(&RoomName::ticket(ticket)) {
                Some(membership) => {
                    membership.typing(on);
                    self.services.rooms.published().typing.inc();
                    Ok(())
                }
                None => self.send_not_joined(ticket).await,
            },
            Command::Seen { message, ticket } => self.mark_seen(message, ticket).await,
            Command::Upload(command) => self.execute_upload(command).await,
            Command::Ping => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
                let timestamp = since_epoch.unwrap_or_default().as_secs();
                self.send_event(&Event::Pong { timestamp }).await
            }
        }
    }

    /// Starts a join, which [`Session::finish_join`] completes.
    async fn join(&mut self, room: RoomName, since: Option<Since>) -> LoopResult {
        self.prepare_join(&room, since.is_some());
        if !self.needs_decision(&room).await? {
            return Ok(());
        }
        self.run_rate_limited(RateLimited::Join(room, since)).await
    }

    /// Returns whether a decision about a join of `room` is needed. Otherwise the client has its
    /// response: a session that is in the room gets the list of users again, and one that is in
    /// too many rooms an error. A late join continues as it is.
    pub(super) async fn needs_decision(&mut self, room: &RoomName) -> Result<bool, CloseReason> {
        if let Some(membership) = self.rooms.get(room) {
            let users = membership.users();
            self.send_joined(room, &users, None, None).await?;
            return Ok(false);
        }
        if self.joins.is_late(room) {
            return Ok(false);
        }
        let access = &self.services.backend.get().access;
        if !access.is_offered(&self.user, room) {
            let message = "This server has no channels: auth.channel_path is not set";
            self.send_error("channels_disabled", message, Some(room))
                .await?;
            return Ok(false);
        }
        if self.rooms.len() + self.joins.len() >= self.settings.max_rooms.size()
            && self.report_exceeded(Limit::MaxRooms)
        {
            let message = "This session is in too many rooms; leave one first";
            self.send_error("too_many_rooms", message, Some(room))
                .await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Asks Laravel whether the user may be in `room`, and retries while Laravel is
    /// unavailable, each time with the configuration in use.
    pub(super) fn start_join(&mut self, room: RoomName, since: Option<Since>) {
        let (backend, user) = (self.services.backend.clone(), self.user.clone());
        let auth_request = AuthRequest::new(&self.credential, &self.client_context);
        let joined = room.clone();
        let deciding = async move {
            let ask = |deadline| {
                let (current, auth_request) =
                    (backend.get(), auth_request.clone().with_deadline(deadline));
                let (user, room) = (&user, &room);
                async move { current.access.authorize(user, room, auth_request).await }
            };
            let grant = retry_while_unavailable(backend.get().retry_timeout, ask).await;
            JoinDecision { room, since, grant }
        };
        self.joins.begin(joined, deciding);
    }

    /// Continues a join that Laravel did not decide in time: asks once more after a pause,
    /// which is `retry_after` at least.
    fn start_late_join(
        &mut self,
        room: RoomName,
        since: Option<Since>,
        retry_after: Option<Duration>,
    ) {
        let (backend, user) = (self.services.backend.clone(), self.user.clone());
        let auth_request = AuthRequest::new(&self.credential, &self.client_context);
        let pause = retry_after.unwrap_or_default().max(LATE_JOIN_INTERVAL)
            + LATE_JOIN_JITTER.mul_f64(fastrand::f64());
        self.joins.begin_late(room.clone(), async move {
            tokio::time::sleep(pause).await;
            let current = backend.get();
            let grant = current.access.authorize(&user, &room, auth_request).await;
            JoinDecision { room, since, grant }
        });
    }

    /// Acts on Laravel's decision about a join, then on what waited for it. Without
    /// a decision the client is told once, and the join becomes a late one.
    pub(super) async fn finish_join(
        &mut self,
        JoinDecision { room, since, grant }: JoinDecision,
        is_late: bool,
    ) -> LoopResult {
        if let (Err(auth::Error::Unavailable { retry_after, .. }), true) = (&grant, is_late) {
            self.start_late_join(room, since, *retry_after);
            return Ok(());
        }
        self.services.metrics.count_join(match &grant {
            Ok(_) => "joined",
            Err(auth::Error::Denied) => "denied",
            Err(auth::Error::TokenRejected | auth::Error::OtherUser) => "token_refused",
            Err(auth::Error::Unavailable { .. }) => "unavailable",
        });
        match grant {
            // Invalidated while the request was under way: the decision may be too old.
            Ok(grant) if !self.services.backend.get().access.is_still_valid(&grant) => {
                self.start_join(room, since)
            }
            Ok(grant) => self.enter_room(&grant, since).await?,
            Err(error) => self.send_join_error(room, since, error).await?,
        }
        self.continue_joins().await
    }

    /// Enters the room of `grant`. Events that come meanwhile stay queued, so the client gets
    /// `ticket_joined` or `joined` before any of them.
    pub(super) async fn enter_room(&mut self, grant: &Grant, since: Option<Since>) -> LoopResult {
        let (room, outbox) = (grant.room(), self.outbox.clone());
        let is_silent = self.is_silent(room);
        let point = self.take_resumed(room);
        let since = point.map(Since::Parked).or(since);
        let joined = self.services.rooms.join(grant, since, self.id(), outbox);
        if let Some(recovery) = joined.recovery {
            self.services.metrics.count_recovery(recovery.name());
        }
        self.record_entry(room, &joined);
        self.rooms.insert(room.clone(), joined.membership);
        self.complete_resumption();
        if is_silent {
            return Ok(());
        }
        // The client hears about the recovery only if it asked for it.
        let recovery = joined.recovery.filter(|_| point.is_none());
        self.send_joined(room, &joined.users, joined.position, recovery)
            .await
    }

    /// Reports a failed join to the client. A rejected token starts a revalidation. A join that
    /// Laravel did not decide continues as a late one.
    async fn send_join_error(
        &mut self,
        room: RoomName,
        since: Option<Since>,
        error: auth::Error,
    ) -> LoopResult {
        let is_silent = self.is_silent(&room);
        if !matches!(error, auth::Error::Unavailable { .. }) {
            self.take_resumed(&room);
            self.complete_resumption();
        }
        match error {
            auth::Error::Denied if is_silent => Ok(()),
            auth::Error::Denied => {
                let message = match room {
                    RoomName::Ticket(_) => "This ticket does not exist or is not open to you",
                    RoomName::Channel(_) => "This channel does not exist or is not open to you",
                };
                self.send_error("denied", message, Some(&room)).await
            }
            auth::Error::TokenRejected | auth::Error::OtherUser => {
                let epoch = self.services.invalidations.next_epoch();
                self.start_revalidation(RevalidationCause::TokenDoubt, Some(epoch));
                if is_silent {
                    return Ok(());
                }
                let message = "Your log-in is no longer good";
                self.send_error("denied", message, Some(&room)).await
            }
            auth::Error::Unavailable {
                reason,
                retry_after,
                ..
            } => {
                self.start_late_join(room.clone(), since, retry_after);
                tracing::warn!(
                    name: "room_authorization_failed",
                    session = %self.id(), %room, error = reason,
                    "room authorization failed"
                );
                if is_silent {
                    return Ok(());
                }
                let message = match room {
                    RoomName::Ticket(_) => {
                        "Your right to this ticket cannot be checked now; the server keeps trying"
                    }
                    RoomName::Channel(_) => {
                        "Your right to this channel cannot be checked now; the server keeps trying"
                    }
                };
                self.send_error("unavailable", message, Some(&room)).await
            }
        }
    }

    /// Sends `ticket_joined` or `joined` with the users who are present.
    async fn send_joined(
        &mut self,
        room: &RoomName,
        users: &[PresentUser],
        position: Option<Position>,
        recovery: Option<Recovery>,
    ) -> LoopResult {
        let present = users.iter().map(Present::from).collect();
        let position = position.map(|position| position.to_string());
        let recovery = recovery.map(Recovered::from);
        let event = match room {
            RoomName::Ticket(id) => Event::TicketJoined {
                ticket_id: *id,
                users: present,
                position,
                recovery,
            },
            RoomName::Channel(name) => Event::Joined {
                channel: name,
                users: room.has_presence().then_some(present),
                position,
                recovery,
            },
        };
        self.send_event(&event).await
    }

    /// Publishes to the room that the user has seen `message`. Without a `ticket` the session
    /// must be in the room of exactly one.
    async fn mark_seen(&mut self, message: RowId, ticket: Option<RowId>) -> LoopResult {
        let membership: &Membership = match ticket {
            Some(ticket) => match self.rooms.get(&RoomName::ticket(ticket)) {
                Some(membership) => membership,
                None => return self.send_not_joined(ticket).await,
            },
            None => {
                let is_ticket = |room: &RoomName| matches!(room, RoomName::Ticket(_));
                let mut tickets = self.rooms.iter().filter(|(room, _)| is_ticket(room));
                match (tickets.next(), tickets.next()) {
                    (Some((_, only)), None) => only,
                    (None, _) => {
                        let text = "Join the message's ticket first";
                        return self.send_error("not_in_room", text, None).await;
                    }
                    (Some(_), Some(_)) => {
                        let text = "This session is in several rooms; name the ticket_id";
                        return self.send_error("ticket_id_needed", text, None).await;
                    }
                }
            }
        };
        let user = self.user.id().clone();
        self.services.rooms.published().seen.inc();
        membership.publish(
            EventKind::Seen { user, message },
            Audience::AllBut(self.id()),
        );
        Ok(())
    }

    /// Reports to the client that it has not joined `ticket`.
    async fn send_not_joined(&mut self, ticket: RowId) -> LoopResult {
        let message = "Join this ticket first";
        let room = RoomName::Ticket(ticket);
        self.send_error("not_in_room", message, Some(&room)).await
    }

    /// Sends an `error` event: `code` for programs, `message` for people.
    pub(super) async fn send_error(
        &mut self,
        code: &str,
        message: &str,
        room: Option<&RoomName>,
    ) -> LoopResult {
        let event = Event::Error {
            message,
            code,
            room: room.map(RoomField::from),
            upload_id: None,
        };
        self.send_event(&event).await
    }
}

/// The minimum time between two requests about a late join, and the jitter added to it.
const LATE_JOIN_INTERVAL: Duration = Duration::from_secs(2);
const LATE_JOIN_JITTER: Duration = Duration::from_secs(3);
