//! Asking Laravel again, now and then, about a session that stays: is its token
//! still good, may it still see its rooms? A definite no removes, at once; an
//! outage does not, but is asked about again soon.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::gateway::Services;
use super::{CloseReason, Going, Session};
use crate::auth::{Caller, Error, Moment, Token, User};
use crate::ids::RoomName;

/// What Laravel no longer grants, or does not say.
#[derive(Debug)]
pub(super) enum Finding {
    /// The token is no longer good.
    TokenRefused,
    /// This room is no longer open.
    RoomLost(RoomName),
    /// No answer; when to ask again, if Laravel said it.
    Undecided(Option<Duration>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins to ask; [`Session::found`] goes on. With `since` what is
    /// remembered from before does not count. One round at a time.
    pub(super) fn recheck(&mut self, since: Option<Moment>) {
        if self.checking.is_some() {
            self.check_again = true;
            return;
        }
        let rooms: Vec<_> = self.rooms.keys().copied().collect();
        let asker = Again {
            services: Arc::clone(&self.services),
            user: self.user.clone(),
            token: self.token.clone(),
            caller: self.caller.clone(),
            since,
        };
        self.checking = Some(asker.ask(rooms).boxed());
    }

    /// Does what a finding demands; without one the round is over.
    pub(super) async fn found(&mut self, finding: Option<Finding>) -> Going {
        match finding {
            Some(Finding::TokenRefused) => Err(CloseReason::Revoked),
            Some(Finding::RoomLost(room)) => self.lose(room).await,
            Some(Finding::Undecided(retry_after)) => {
                self.schedule.recheck_within(retry_after.unwrap_or(SOON));
                Ok(())
            }
            None => {
                self.checking = None;
                if std::mem::take(&mut self.check_again) {
                    let since = self.services.doubts.now();
                    self.recheck(Some(since));
                }
                Ok(())
            }
        }
    }

    async fn lose(&mut self, room: RoomName) -> Going {
        self.uploads.lose(room);
        if !self.leave(room) {
            return Ok(());
        }
        tracing::info!(session = %self.id, user = %self.user.id(), %room, "access withdrawn");
        let message = "This ticket is no longer open to you";
        let ticket = Some(room.ticket_id());
        self.refuse("access_withdrawn", message, ticket).await
    }
}

/// What a round of questions needs.
struct Again {
    services: Arc<Services>,
    user: User,
    token: Token,
    caller: Caller,
    since: Option<Moment>,
}

impl Again {
    /// Asks about the token, then about the rooms, several at once.
    fn ask(self, rooms: Vec<RoomName>) -> impl Stream<Item = Finding> + Send + 'static {
        let this = Arc::new(self);
        let who = Arc::clone(&this);
        let who = stream::once(async move { who.token().await });
        let may = stream::iter(rooms).map(move |room| {
            let this = Arc::clone(&this);
            async move { this.room(room).await }
        });
        who.chain(may.buffer_unordered(AT_ONCE))
            .filter_map(std::future::ready)
    }

    async fn token(&self) -> Option<Finding> {
        let identity = &self.services.identity;
        let answer = identity
            .identify(&self.token, &self.caller, self.since)
            .await;
        match answer {
            Ok(_) => None,
            Err(Error::Denied | Error::TokenRefused) => Some(Finding::TokenRefused),
            Err(Error::Unavailable { retry_after, .. }) => Some(Finding::Undecided(retry_after)),
        }
    }

    async fn room(&self, room: RoomName) -> Option<Finding> {
        let access = &self.services.access;
        let (user, token, caller) = (&self.user, &self.token, &self.caller);
        match access
            .authorize(user, room, token, caller, self.since)
            .await
        {
            Ok(_) => None,
            Err(Error::Denied) => Some(Finding::RoomLost(room)),
            Err(Error::TokenRefused) => Some(Finding::Undecided(None)),
            Err(Error::Unavailable { retry_after, .. }) => Some(Finding::Undecided(retry_after)),
        }
    }
}

/// Rooms of one session that are asked about at once.
const AT_ONCE: usize = 8;
/// When to ask again after an outage.
const SOON: Duration = Duration::from_secs(15);
