//! What a session does with what its client says.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{self, Message};

use super::super::wire::{self, Command, Event, Present};
use super::joins::Decision;
use super::pace::Costly;
use super::recheck::Cause;
use super::socket::reason;
use super::{CloseReason, Going, Session};
use crate::auth::{self, AuthRequest, Grant, User, retry_while_unavailable};
use crate::ids::{RoomName, RowId};
use crate::limit::Limit;
use crate::rooms::{Audience, EventKind, Membership};

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Takes one frame. Any frame is a sign of life; all but pongs and the
    /// chunks of uploads count against the rate. Pongs, of which one is wanted for
    /// each ping, are noise.
    pub(super) async fn hear(
        &mut self,
        frame: Option<Result<Message, tungstenite::Error>>,
    ) -> Going {
        let frame = match frame {
            None => return Err(CloseReason::Lost),
            Some(Err(error)) => return Err(reason(&error)),
            Some(Ok(frame)) => frame,
        };
        self.schedule.heard();
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
            frame => self.spend(Costly::Message(frame)).await,
        }
    }

    /// Does what a frame says that has been counted.
    pub(super) async fn obey_frame(&mut self, frame: Message) -> Going {
        match frame {
            Message::Text(text) => match wire::decode(&text) {
                Ok(command) => {
                    self.services.metrics.commands.add(command.name());
                    self.obey(command).await
                }
                Err(mistake) => {
                    self.services.metrics.commands.add(mistake.code());
                    self.refuse(mistake.code(), &mistake.to_string(), None)
                        .await
                }
            },
            Message::Close(_) => Err(CloseReason::Client),
            // tungstenite answers a ping by itself, at the next flush.
            Message::Ping(_) => self.write([]).await,
            Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn obey(&mut self, command: Command) -> Going {
        if self.joins.concern(&command) {
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
                None => self.refuse_stranger(ticket).await,
            },
            Command::Seen { message, ticket } => self.seen(message, ticket).await,
            Command::Upload(command) => self.upload(command).await,
            Command::Ping => {
                let timestamp = SystemTime::now().duration_since(UNIX_EPOCH);
                let timestamp = timestamp.unwrap_or_default().as_secs();
                self.tell(&Event::Pong { timestamp }).await
            }
        }
    }

    /// Asks Laravel whether the ticket may be seen; [`Session::joined`] goes on.
    async fn join(&mut self, ticket: RowId) -> Going {
        let room = RoomName::ticket(ticket);
        if let Some(membership) = self.rooms.get(&room) {
            let users = membership.users();
            return self.welcome(room, &users).await;
        }
        if self.rooms.len() + self.joins.len() >= self.settings.max_rooms.size()
            && self.over(Limit::MaxRooms)
        {
            let message = "This session is in too many rooms; leave one first";
            return self.refuse("too_many_rooms", message, Some(ticket)).await;
        }
        self.spend(Costly::Join(ticket)).await
    }

    pub(super) fn ask_to_join(&mut self, room: RoomName) {
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
    pub(super) async fn joined(&mut self, (room, grant): Decision) -> Going {
        self.services.metrics.joins.add(match &grant {
            Ok(_) => "joined",
            Err(auth::Error::Denied) => "denied",
            Err(auth::Error::TokenRefused | auth::Error::OtherUser) => "token_refused",
            Err(auth::Error::Unavailable { .. }) => "unavailable",
        });
        match grant {
            // Somebody said meanwhile that things have changed.
            Ok(grant) if !self.services.backend.get().access.is_still_valid(&grant) => {
                self.ask_to_join(room)
            }
            Ok(grant) => self.enter(&grant).await?,
            Err(error) => self.tell_why_not(room, error).await?,
        }
        match self.joins.release() {
            Some(command) => self.obey(command).await,
            None => Ok(()),
        }
    }

    async fn enter(&mut self, grant: &Grant) -> Going {
        let (room, outbox) = (grant.room(), self.outbox.clone());
        let joined = self.services.rooms.join(grant, self.id, outbox);
        self.rooms.insert(room, joined.membership);
        self.welcome(room, &joined.users).await
    }

    async fn tell_why_not(&mut self, room: RoomName, error: auth::Error) -> Going {
        let ticket = Some(room.ticket_id());
        match error {
            auth::Error::Denied => {
                let message = "This ticket does not exist or is not open to you";
                self.refuse("denied", message, ticket).await
            }
            auth::Error::TokenRefused | auth::Error::OtherUser => {
                let since = self.services.invalidations.next_epoch();
                self.recheck(Cause::TokenDoubt, Some(since));
                let message = "Your log-in is no longer good";
                self.refuse("denied", message, ticket).await
            }
            auth::Error::Unavailable { reason, .. } => {
                tracing::warn!(session = %self.id, %room, cause = reason, "join not decided");
                let message = "Your right to this ticket cannot be checked now; try again";
                self.refuse("unavailable", message, ticket).await
            }
        }
    }

    async fn welcome(&mut self, room: RoomName, users: &[User]) -> Going {
        let event = Event::TicketJoined {
            ticket_id: room.ticket_id(),
            users: users.iter().map(Present::from).collect(),
        };
        self.tell(&event).await
    }

    async fn seen(&mut self, message: RowId, ticket: Option<RowId>) -> Going {
        let membership: &Membership = match ticket {
            Some(ticket) => match self.rooms.get(&RoomName::ticket(ticket)) {
                Some(membership) => membership,
                None => return self.refuse_stranger(ticket).await,
            },
            None => {
                let mut rooms = self.rooms.values();
                match (rooms.next(), rooms.next()) {
                    (Some(only), None) => only,
                    (None, _) => {
                        let message = "Join the message's ticket first";
                        return self.refuse("not_in_room", message, None).await;
                    }
                    (Some(_), Some(_)) => {
                        let message = "This session is in several rooms; name the ticket_id";
                        return self.refuse("ticket_id_needed", message, None).await;
                    }
                }
            }
        };
        let user = self.user.id().clone();
        self.services.metrics.publications.add("seen");
        membership.publish(EventKind::Seen { user, message }, Audience::AllBut(self.id));
        Ok(())
    }

    async fn refuse_stranger(&mut self, ticket: RowId) -> Going {
        let message = "Join this ticket first";
        self.refuse("not_in_room", message, Some(ticket)).await
    }

    pub(super) async fn refuse(
        &mut self,
        code: &str,
        message: &str,
        ticket_id: Option<RowId>,
    ) -> Going {
        let event = Event::Error {
            message,
            code,
            ticket_id,
            upload_id: None,
        };
        self.tell(&event).await
    }
}
