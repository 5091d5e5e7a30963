//! What a session does with what its client says.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{self, Message};

use super::super::protocol::{self, Command, Event, Present};
use super::io::close_reason;
use super::pending_joins::JoinDecision;
use super::revalidate::RevalidationCause;
use super::throttle::RateLimited;
use super::{CloseReason, LoopResult, Session};
use crate::auth::{self, AuthRequest, Grant, User, retry_while_unavailable};
use crate::core::ids::{RoomName, RowId};
use crate::limit::Limit;
use crate::rooms::{Audience, EventKind, Membership};

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Takes one frame. Any frame is a sign of life; all but pongs and the
    /// chunks of uploads count against the rate. Pongs, of which one is wanted for
    /// each ping, are noise.
    pub(super) async fn on_frame(
        &mut self,
        frame: Option<Result<Message, tungstenite::Error>>,
    ) -> LoopResult {
        let frame = match frame {
            None => return Err(CloseReason::Lost),
            Some(Err(error)) => return Err(close_reason(&error)),
            Some(Ok(frame)) => frame,
        };
        self.schedule.record_activity();
        if !frame.is_pong() {
            self.activity.record();
        }
        match frame {
            // An upload has a rate of its own; what is no part of one is counted there.
            Message::Binary(frame) => {
                self.services.metrics.commands.add("upload_chunk");
                self.chunk(&frame).await
            }
            Message::Pong(_) => Ok(()),
            frame => self.run_rate_limited(RateLimited::Message(frame)).await,
        }
    }

    /// Does what a frame says that has been counted.
    pub(super) async fn execute_frame(&mut self, frame: Message) -> LoopResult {
        match frame {
            Message::Text(text) => match protocol::decode(&text) {
                Ok(command) => {
                    self.services.metrics.commands.add(command.name());
                    self.execute(command).await
                }
                Err(mistake) => {
                    self.services.metrics.commands.add(mistake.code());
                    self.send_error(mistake.code(), &mistake.to_string(), None)
                        .await
                }
            },
            Message::Close(_) => Err(CloseReason::Client),
            // tungstenite answers a ping by itself, at the next flush.
            Message::Ping(_) => self.write([]).await,
            Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn execute(&mut self, command: Command) -> LoopResult {
        if self.joins.affects(&command) {
            self.joins.hold(command);
            return Ok(());
        }
        match command {
            Command::Join(ticket) => self.join(ticket).await,
            Command::Leave(ticket) => {
                self.leave(RoomName::ticket(ticket));
                Ok(())
            }
            Command::Typing { ticket, on } => match self.rooms.get(&RoomName::ticket(ticket)) {
                Some(membership) => {
                    membership.typing(on);
                    self.services.metrics.publications.add("typing");
                    Ok(())
                }
                None => self.send_not_joined(ticket).await,
            },
            Command::Seen { message, ticket } => self.seen(message, ticket).await,
            Command::Upload(command) => self.upload(command).await,
            Command::Ping => {
                let timestamp = SystemTime::now().duration_since(UNIX_EPOCH);
                let timestamp = timestamp.unwrap_or_default().as_secs();
                self.send_event(&Event::Pong { timestamp }).await
            }
        }
    }

    /// Asks Laravel whether the ticket may be seen; [`Session::finish_join`] goes on.
    async fn join(&mut self, ticket: RowId) -> LoopResult {
        let room = RoomName::ticket(ticket);
        if let Some(membership) = self.rooms.get(&room) {
            let users = membership.users();
            return self.send_joined(room, &users).await;
        }
        if self.rooms.len() + self.joins.len() >= self.settings.max_rooms.size()
            && self.report_exceeded(Limit::MaxRooms)
        {
            let message = "This session is in too many rooms; leave one first";
            return self
                .send_error("too_many_rooms", message, Some(ticket))
                .await;
        }
        self.run_rate_limited(RateLimited::Join(ticket)).await
    }

    pub(super) fn start_join(&mut self, room: RoomName) {
        let (backend, user) = (self.services.backend.clone(), self.user.clone());
        let auth_request = AuthRequest::new(&self.token, &self.client_context);
        let asking = async move {
            let ask = |patience| {
                let (backend, auth_request) =
                    (backend.get(), auth_request.clone().with_deadline(patience));
                let user = &user;
                async move { backend.access.authorize(user, room, auth_request).await }
            };
            (
                room,
                retry_while_unavailable(backend.get().patience, ask).await,
            )
        };
        self.joins.begin(room, asking.boxed());
    }

    /// Does what Laravel decided about a join, then what had to wait for it.
    pub(super) async fn finish_join(&mut self, (room, grant): JoinDecision) -> LoopResult {
        self.services.metrics.joins.add(match &grant {
            Ok(_) => "joined",
            Err(auth::Error::Denied) => "denied",
            Err(auth::Error::TokenRefused | auth::Error::OtherUser) => "token_refused",
            Err(auth::Error::Unavailable { .. }) => "unavailable",
        });
        match grant {
            // Somebody said meanwhile that things have changed.
            Ok(grant) if !self.services.backend.get().access.is_still_valid(&grant) => {
                self.start_join(room)
            }
            Ok(grant) => self.enter(&grant).await?,
            Err(error) => self.send_join_error(room, error).await?,
        }
        match self.joins.release() {
            Some(command) => self.execute(command).await,
            None => Ok(()),
        }
    }

    async fn enter(&mut self, grant: &Grant) -> LoopResult {
        let (room, outbox) = (grant.room(), self.outbox.clone());
        let joined = self.services.rooms.join(grant, self.id, outbox);
        self.rooms.insert(room, joined.membership);
        self.send_joined(room, &joined.users).await
    }

    async fn send_join_error(&mut self, room: RoomName, error: auth::Error) -> LoopResult {
        let ticket = Some(room.ticket_id());
        match error {
            auth::Error::Denied => {
                let message = "This ticket does not exist or is not open to you";
                self.send_error("denied", message, ticket).await
            }
            auth::Error::TokenRefused | auth::Error::OtherUser => {
                let since = self.services.invalidations.next_epoch();
                self.start_revalidation(RevalidationCause::TokenDoubt, Some(since));
                let message = "Your log-in is no longer good";
                self.send_error("denied", message, ticket).await
            }
            auth::Error::Unavailable { reason, .. } => {
                tracing::warn!(
                    name: "ticket_authorization_failed",
                    session = %self.id, %room, error = reason,
                    "ticket authorization failed"
                );
                let message = "Your right to this ticket cannot be checked now; try again";
                self.send_error("unavailable", message, ticket).await
            }
        }
    }

    async fn send_joined(&mut self, room: RoomName, users: &[User]) -> LoopResult {
        let event = Event::TicketJoined {
            ticket_id: room.ticket_id(),
            users: users.iter().map(Present::from).collect(),
        };
        self.send_event(&event).await
    }

    async fn seen(&mut self, message: RowId, ticket: Option<RowId>) -> LoopResult {
        let membership: &Membership = match ticket {
            Some(ticket) => match self.rooms.get(&RoomName::ticket(ticket)) {
                Some(membership) => membership,
                None => return self.send_not_joined(ticket).await,
            },
            None => {
                let mut rooms = self.rooms.values();
                match (rooms.next(), rooms.next()) {
                    (Some(only), None) => only,
                    (None, _) => {
                        let message = "Join the message's ticket first";
                        return self.send_error("not_in_room", message, None).await;
                    }
                    (Some(_), Some(_)) => {
                        let message = "This session is in several rooms; name the ticket_id";
                        return self.send_error("ticket_id_needed", message, None).await;
                    }
                }
            }
        };
        let user = self.user.id().clone();
        self.services.metrics.publications.add("seen");
        membership.publish(EventKind::Seen { user, message }, Audience::AllBut(self.id));
        Ok(())
    }

    async fn send_not_joined(&mut self, ticket: RowId) -> LoopResult {
        let message = "Join this ticket first";
        self.send_error("not_in_room", message, Some(ticket)).await
    }

    pub(super) async fn send_error(
        &mut self,
        code: &str,
        message: &str,
        ticket_id: Option<RowId>,
    ) -> LoopResult {
        let event = Event::Error {
            message,
            code,
            ticket_id,
            upload_id: None,
        };
        self.send_event(&event).await
    }
}
