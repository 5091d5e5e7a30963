//! Revalidation of an open session: it asks Laravel again whether the token is valid and
//! the user may see the rooms. A denied right ends at once.
//!
//! After an invalidation (Laravel asked for a revalidation, or the outcome of a logout is
//! unknown) a right that Laravel does not confirm within [`CONFIRM_TIMEOUT`] ends, with a
//! code that lets the client reconnect. So users who make Laravel throttle them do not keep
//! a right that was taken from them. The periodic round waits for the end of a real outage,
//! in which Laravel grants nobody anything; otherwise it allows one more interval.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::super::backend::CurrentBackend;
use super::{CloseReason, LoopResult, Session};
use crate::auth::{AuthRequest, Authorizer, ClientContext, Epoch, Error, Token, User};
use crate::core::ids::RoomName;

/// The cause of a round of revalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RevalidationCause {
    /// All rights were invalidated.
    Invalidated,
    /// The token is in doubt: Laravel responded 401 to a request with it.
    TokenDoubt,
    /// The periodic interval has passed.
    Interval,
}

/// A right that Laravel denies or does not confirm.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostRight {
    right: Right,
    is_denied: bool,
}

/// A right of a session: to be logged in, or to be in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Right {
    Token,
    Room(RoomName),
}

/// The rights that a round has not settled, with the time at which each ends. The next round
/// takes them over, so another doubt gives a right no more time.
type OpenRights = Arc<Mutex<HashMap<Right, Instant>>>;

/// A round of requests that is under way.
pub(super) struct Revalidation {
    cause: RevalidationCause,
    start: Instant,
    findings: BoxStream<'static, LostRight>,
    open: OpenRights,
    /// The start of another round, for a doubt that came soon after the start of this one.
    next_round: Option<Instant>,
}

impl Revalidation {
    /// Waits for the next lost right; none when the round is over. Cancel-safe.
    pub(super) fn next(&mut self) -> stream::Next<'_, BoxStream<'static, LostRight>> {
        self.findings.next()
    }

    /// Returns the time at which another round is due, if one is.
    pub(super) fn next_round(&self) -> Option<Instant> {
        self.next_round
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins a round, whose results [`Session::apply_finding`] handles. With `since`,
    /// decisions cached from before do not count.
    ///
    /// There is one round at a time. A doubt replaces the running round, whose responses may
    /// be older than the change. Doubts begin at most one round per second, since a client
    /// can raise them about its own token.
    pub(super) fn start_revalidation(&mut self, cause: RevalidationCause, since: Option<Epoch>) {
        let now = Instant::now();
        let mut cause = cause;
        let mut open = HashMap::new();
        if let Some(running) = &mut self.revalidation {
            match (cause, running.cause) {
                (RevalidationCause::Interval, _) => return,
                // The new round includes the rooms that the periodic one was to confirm: a doubt
                // about the token must not postpone them.
                (_, RevalidationCause::Interval) => cause = RevalidationCause::Invalidated,
                (_, running_cause) => {
                    if now < running.start + MIN_ROUND_INTERVAL {
                        running.next_round = Some(running.start + MIN_ROUND_INTERVAL);
                        return;
                    }
                    if running_cause == RevalidationCause::Invalidated {
                        cause = RevalidationCause::Invalidated;
                    }
                    open.clone_from(&running.open.lock());
                }
            }
        }
        self.begin_round(cause, since, open);
    }

    /// Starts the requests of a round, in place of the running one.
    fn begin_round(
        &mut self,
        cause: RevalidationCause,
        since: Option<Epoch>,
        open: HashMap<Right, Instant>,
    ) {
        let rooms = match cause {
            RevalidationCause::TokenDoubt => Vec::new(),
            RevalidationCause::Invalidated | RevalidationCause::Interval => {
                self.rooms.keys().copied().collect()
            }
        };
        let open = Arc::new(Mutex::new(open));
        let round = RevalidationRound {
            backend: self.services.backend.clone(),
            user: self.user.clone(),
            token: self.token.clone(),
            client_context: self.client_context.clone(),
            cause,
            since,
            start: Instant::now(),
            interval: self.settings.revalidate_interval.get(),
            open: Arc::clone(&open),
        };
        self.revalidation = Some(Box::new(Revalidation {
            cause,
            start: round.start,
            findings: round.findings(rooms),
            open,
            next_round: None,
        }));
    }

    /// Begins the round that a doubt during the last one requested.
    pub(super) fn begin_next_round(&mut self) {
        let revalidation = &mut self.revalidation;
        if let Some(last) = revalidation.take_if(|round| round.next_round.is_some()) {
            let since = self.services.invalidations.next_epoch();
            let open = last.open.lock().clone();
            self.begin_round(RevalidationCause::Invalidated, Some(since), open);
        }
    }

    /// Ends the right that was lost; without one the round is over.
    pub(super) async fn apply_finding(&mut self, finding: Option<LostRight>) -> LoopResult {
        let Some(lost) = finding else {
            // A next round begins when it is due; until then this one reports nothing.
            match self.revalidation.as_mut() {
                Some(round) if round.next_round.is_some() => {
                    round.findings = stream::pending().boxed();
                }
                _ => self.revalidation = None,
            }
            return Ok(());
        };
        match (lost.right, lost.is_denied) {
            (Right::Token, true) => Err(CloseReason::Revoked),
            (Right::Token, false) => {
                // Laravel is unavailable or throttles the user, or the token is another user's now.
                tracing::warn!(
                    name: "user_revalidation_failed",
                    session = %self.id, user = %self.user.id(),
                    "user revalidation failed"
                );
                Err(CloseReason::Unavailable)
            }
            (Right::Room(room), is_denied) => self.remove_room(room, is_denied).await,
        }
    }

    /// Takes the session out of a room, and tells the client whether it was denied or only not
    /// confirmed.
    async fn remove_room(&mut self, room: RoomName, is_denied: bool) -> LoopResult {
        if is_denied {
            self.uploads.remove_room(room);
        }
        if !self.leave(room) {
            return Ok(());
        }
        let ticket = Some(room.ticket_id());
        let (session, user) = (self.id, self.user.id());
        if is_denied {
            tracing::info!(
                name: "ticket_access_revoked",
                %session, %user, %room, "ticket access revoked"
            );
            let message = "This ticket is no longer open to you";
            self.send_error("access_withdrawn", message, ticket).await
        } else {
            tracing::warn!(
                name: "ticket_revalidation_failed",
                %session, %user, %room, "ticket revalidation failed"
            );
            let message = "Your right to this ticket could not be confirmed; join it again";
            self.send_error("access_unconfirmed", message, ticket).await
        }
    }
}

/// The context of the requests of one round.
struct RevalidationRound {
    backend: CurrentBackend,
    user: User,
    token: Token,
    client_context: ClientContext,
    cause: RevalidationCause,
    since: Option<Epoch>,
    start: Instant,
    interval: Duration,
    open: OpenRights,
}

impl RevalidationRound {
    /// Asks about the token and the rooms. After a doubt all requests begin at once. The
    /// periodic round asks about the token first and about some rooms at a time.
    fn findings(self, rooms: Vec<RoomName>) -> BoxStream<'static, LostRight> {
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
        let ask = || async move {
            let backend = self.backend.get();
            let granted = backend
                .access
                .authorize(&self.user, room, self.auth_request());
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
        self.settle(Right::Room(room), ask).await
    }

    /// Confirms `right`, or returns that it is lost; either way it is no longer open. A room
    /// that is joined again is a new right.
    async fn settle<F>(&self, right: Right, ask: impl Fn() -> F) -> Option<LostRight>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let confirmed = self.confirm(right, ask).await;
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
        let auth_request = AuthRequest::new(&self.token, &self.client_context).since(self.since);
        match self.cause {
            RevalidationCause::Invalidated | RevalidationCause::TokenDoubt => auth_request.urgent(),
            RevalidationCause::Interval => auth_request,
        }
    }

    /// Asks until Laravel decides.
    ///
    /// # Errors
    /// The lost right: denied, or not confirmed in time.
    async fn confirm<F>(&self, right: Right, ask: impl Fn() -> F) -> Result<(), LostRight>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let unconfirmed = LostRight {
            right,
            is_denied: false,
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
                    return Err(LostRight {
                        right,
                        is_denied: true,
                    });
                }
                Ok(Err(Error::OtherUser)) => return Err(unconfirmed),
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
                    return Err(unconfirmed);
                }
                _ => tokio::time::sleep_until(retry_at).await,
            }
        }
    }

    /// Returns the time at which `right` ends unless it is confirmed, if it is in doubt. A
    /// right that an earlier round left open keeps its time.
    fn end_of_doubt(&self, right: Right) -> Option<Instant> {
        if self.cause == RevalidationCause::Interval {
            return None;
        }
        let mut open = self.open.lock();
        Some(*open.entry(right).or_insert(self.start + CONFIRM_TIMEOUT))
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
/// The minimum time between the starts of two rounds for doubts.
const MIN_ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum jitter added to the wait before a retry.
const MAX_JITTER: Duration = Duration::from_secs(1);
/// The requests about rooms that one periodic round has under way at once.
const MAX_CONCURRENT_ROOMS: usize = 8;
