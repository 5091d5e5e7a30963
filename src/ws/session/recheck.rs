//! Asking Laravel again, now and then, about a session that stays: is its token
//! still good, may it still see its rooms? A definite no removes, an outage does not.

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::gateway::Services;
use super::{CloseReason, Going, Session};
use crate::auth::{Caller, Error, Token, User};
use crate::ids::RoomName;

/// What Laravel no longer grants.
#[derive(Debug)]
pub(super) enum Findings {
    /// The token itself.
    TokenRefused,
    /// These rooms; none is the usual case.
    RoomsLost(Vec<RoomName>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins to ask; [`Session::checked`] goes on. One round at a time.
    pub(super) fn recheck(&mut self) {
        if self.checking.is_some() {
            self.check_again = true;
            return;
        }
        let rooms = self.rooms.keys().copied().collect();
        let (services, user) = (self.services.clone(), self.user.clone());
        let (token, caller) = (self.token.clone(), self.caller.clone());
        let asking = async move { ask(&services, &user, rooms, &token, &caller).await };
        self.checking = Some(asking.boxed());
    }

    pub(super) async fn checked(&mut self, findings: Findings) -> Going {
        self.checking = None;
        let lost = match findings {
            Findings::TokenRefused => return Err(CloseReason::Revoked),
            Findings::RoomsLost(lost) => lost,
        };
        for room in lost {
            if self.leave(room) {
                tracing::info!(session = %self.id, user = %self.user.id(), %room, "access withdrawn");
                let message = "This ticket is no longer open to you";
                self.refuse("access_withdrawn", message, Some(room.ticket_id()))
                    .await?;
            }
        }
        if std::mem::take(&mut self.check_again) {
            self.recheck();
        }
        Ok(())
    }
}

async fn ask(
    services: &Services,
    user: &User,
    rooms: Vec<RoomName>,
    token: &Token,
    caller: &Caller,
) -> Findings {
    services.identity.forget(&token.hash());
    if services.identity.identify(token, caller).await == Err(Error::Denied) {
        return Findings::TokenRefused;
    }
    let mut lost = Vec::new();
    for room in rooms {
        services.access.forget(user.id(), room);
        let answer = services.access.authorize(user, room, token, caller).await;
        if let Err(Error::Denied) = answer {
            lost.push(room);
        }
    }
    Findings::RoomsLost(lost)
}
