//! One round of revalidation: the requests to Laravel about the token and the rooms of a
//! session, each repeated until Laravel decides or the right ends.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::super::backend::CurrentBackend;
use crate::auth::{AuthRequest, Authorizer, ClientContext, Credential, Epoch, Error, User};
use crate::core::ids::RoomName;

/// The cause of a round of revalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ws::session) enum RevalidationCause {
    /// All rights were invalidated.
    Invalidated,
    /// The token is in doubt: Laravel responded 401 to a request with it.
    TokenDoubt,
    /// The periodic interval has passed.
    Interval,
}

/// A right that Laravel denies or does not confirm.
#[derive(Clone, Debug)]
pub(in crate::ws::session) struct LostRight {
    pub(in crate::ws::session) right: Right,
    pub(in crate::ws::session) is_denied: bool,
}

/// A right of a session: to be logged in, or to be in a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::ws::session) enum Right {
    Token,
    Room(RoomName),
}

/// The rights that a round has not settled, with the time at which each ends. The next round
/// takes them over, so another doubt gives a right no more time.
pub(in crate::ws::session) type OpenRights = HashMap<Right, Instant>;
/// The context of the requests of one round.
pub(in crate::ws::session) struct RevalidationRound {
    pub(in crate::ws::session) backend: CurrentBackend,
    pub(in crate::ws::session) user: User,
    pub(in crate::ws::session) credential: Credential,
    pub(in crate::ws::session) client_context: ClientContext,
    pub(in crate::ws::session) cause: RevalidationCause,
    /// Decisions cached from before do not count.
    pub(in crate::ws::session) since: Option<Epoch>,
    pub(in crate::ws::session) start: Instant,
    /// The interval of periodic rounds.
    pub(in crate::ws::session) interval: Duration,
    pub(in crate::ws::session) open: Arc<Mutex<OpenRights>>,
}

impl RevalidationRound {
    /// Asks about the token and the rooms. After a doubt all requests begin at once. The
    /// periodic round asks about the token first and about some rooms at a time.
    pub(super) fn findings(self, rooms: Vec<RoomName>) -> BoxStream<'static, LostRight> {
        let cause = self.cause;
        let round = Arc::new(self);
        let token_round = Arc::clone(&round);
        let of_token = async move { token_round.check_token().await }.boxed();
        let of_rooms = rooms.into_iter().map(move |room| {
            let room_round = Arc::clone(&round);
            async move { room_round.check_room(room).await }.boxed()
        });
        match cause {
            RevalidationCause::Invalidated | RevalidationCause::TokenDoubt => {
                let all: FuturesUnordered<_> = [of_token].into_iter().chain(of_rooms).collect();
                all.filter_map(std::future::ready).boxed()
            }
            RevalidationCause::Interval => {
                let of_rooms = stream::iter(of_rooms.collect::<Vec<_>>());
                stream::once(of_token)
                    .chain(of_rooms.buffer_unordered(MAX_CONCURRENT_ROOMS))
                    .filter_map(std::future::ready)
                    .boxed()
            }
        }
    }

    /// Confirms the token, or returns that it is lost.
    async fn check_token(&self) -> Option<LostRight> {
        self.settle(Right::Token, || self.identify()).await
    }

    /// Confirms the right to `room`, or returns that it is lost.
    async fn check_room(&self, room: RoomName) -> Option<LostRight> {
        let name = &room;
        let ask = || async move {
            let backend = self.backend.get();
            let granted = backend
                .access
                .authorize(&self.user, name, self.auth_request());
            match granted.await {
                Ok(_) => Ok(()),
                // If the token is valid, this denies the ticket. If it is not, the request about
                // the token reports that.
                Err(Error::TokenRejected) => match self.identify().await {
                    Ok(()) => Err(Error::Denied),
                    Err(Error::Denied | Error::TokenRejected) => Ok(()),
                    Err(unavailable) => Err(unavailable),
                },
                Err(error) => Err(error),
            }
        };
        self.settle(Right::Room(room.clone()), ask).await
    }

    /// Confirms `right`, or returns that it is lost; either way it is no longer open. A room
    /// that is joined again is a new right.
    async fn settle<F>(&self, right: Right, ask: impl Fn() -> F) -> Option<LostRight>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let confirmed = self.confirm(&right, ask).await;
        self.open.lock().remove(&right);
        confirmed.err()
    }

    /// Asks Laravel whether the token is valid and still this user's: under another user's id
    /// no invalidation would find the session.
    ///
    /// # Errors
    /// `OtherUser` if the token is another user's now; otherwise as
    /// [`Authenticator::identify`](crate::auth::Authenticator::identify).
    async fn identify(&self) -> Result<(), Error> {
        let backend = self.backend.get();
        let identified = backend.identity.identify(self.auth_request()).await?;
        if identified.user.id() == self.user.id() {
            Ok(())
        } else {
            Err(Error::OtherUser)
        }
    }

    /// Creates a request, urgent after a doubt.
    fn auth_request(&self) -> AuthRequest {
        let auth_request =
            AuthRequest::new(&self.credential, &self.client_context).since(self.since);
        match self.cause {
            RevalidationCause::Invalidated | RevalidationCause::TokenDoubt => auth_request.urgent(),
            RevalidationCause::Interval => auth_request,
        }
    }

    /// Asks until Laravel decides.
    ///
    /// # Errors
    /// The lost right: denied, or not confirmed in time.
    async fn confirm<F>(&self, right: &Right, ask: impl Fn() -> F) -> Result<(), LostRight>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let lost = |is_denied| LostRight {
            right: right.clone(),
            is_denied,
        };
        let end_of_doubt = self.end_of_doubt(right);
        loop {
            let result = match end_of_doubt {
                Some(end) => tokio::time::timeout_at(end, ask()).await,
                None => Ok(ask().await),
            };
            let (retry_after, is_throttled) = match result {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Error::Denied | Error::TokenRejected)) => {
                    return Err(lost(true));
                }
                Ok(Err(Error::OtherUser)) => return Err(lost(false)),
                Ok(Err(Error::Unavailable {
                    retry_after,
                    is_throttled,
                    ..
                })) => (retry_after, is_throttled),
                Err(_) => (None, false),
            };
            let retry_at = Instant::now() + self.pause(retry_after);
            match end_of_doubt.or_else(|| self.end_of_interval(is_throttled)) {
                Some(end) if retry_at >= end => {
                    tokio::time::sleep_until(end).await;
                    return Err(lost(false));
                }
                _ => tokio::time::sleep_until(retry_at).await,
            }
        }
    }

    /// Returns the time at which `right` ends unless it is confirmed, if it is in doubt. A
    /// right that an earlier round left open keeps its time.
    fn end_of_doubt(&self, right: &Right) -> Option<Instant> {
        if self.cause == RevalidationCause::Interval {
            return None;
        }
        let mut open = self.open.lock();
        Some(
            *open
                .entry(right.clone())
                .or_insert(self.start + CONFIRM_TIMEOUT),
        )
    }

    /// Returns the time at which a right ends that the periodic round cannot confirm; none in
    /// an outage.
    fn end_of_interval(&self, is_throttled: bool) -> Option<Instant> {
        let access: &Authorizer = &self.backend.get().access;
        let is_outage = !is_throttled && !access.has_granted_since(self.start);
        (!is_outage).then(|| self.start + self.interval)
    }

    /// Returns the time to wait before a retry: Laravel's `Retry-After` or the default, and up
    /// to a second more, so that users who were throttled together do not retry together.
    fn pause(&self, retry_after: Option<Duration>) -> Duration {
        let pause = retry_after.unwrap_or(match self.cause {
            RevalidationCause::Invalidated | RevalidationCause::TokenDoubt => RETRY_INTERVAL,
            RevalidationCause::Interval => OUTAGE_RETRY_INTERVAL,
        });
        pause.max(RETRY_INTERVAL) + MAX_JITTER.mul_f64(fastrand::f64())
    }
}

/// The time for which a right in doubt holds without a confirmation.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// The minimum wait before a retry, and the default after a doubt.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// The default wait before a retry of the periodic round.
const OUTAGE_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// The maximum jitter added to the wait before a retry.
const MAX_JITTER: Duration = Duration::from_secs(1);
/// The requests about rooms that one periodic round has under way at once.
const MAX_CONCURRENT_ROOMS: usize = 8;
