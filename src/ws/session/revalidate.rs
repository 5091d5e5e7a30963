//! Confirming the rights of a session that stays: is its token still good, may it
//! still see its rooms? A definite no removes, at once.
//!
//! After a doubt (Laravel called for a recheck, a log-out was unclear) what Laravel does
//! not confirm within [`CONFIRM_TIMEOUT`] ends with a code that says come back: users who
//! make Laravel throttle them must not keep what was taken away. The periodic round waits
//! out a real outage, in which Laravel grants nobody anything, and else allows one more
//! interval.

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

/// Why a session's rights are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RevalidationCause {
    /// All of them may have ended.
    Invalidated,
    /// The token may have ended: a request with it was answered 401.
    TokenDoubt,
    /// It is time to.
    Interval,
}

/// A right that Laravel denies or does not confirm.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostRight {
    right: Right,
    is_denied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Right {
    Token,
    Room(RoomName),
}

/// The rights that a round has not settled yet, and when each of them ends. The next
/// round takes them over: a right does not get more time by another doubt.
type Open = Arc<Mutex<HashMap<Right, Instant>>>;

/// A round of requests that is under way.
pub(super) struct Revalidation {
    cause: RevalidationCause,
    start: Instant,
    findings: BoxStream<'static, LostRight>,
    open: Open,
    /// When another round begins, because of a doubt that came soon after this one.
    next_round: Option<Instant>,
}

impl Revalidation {
    /// The next finding; none when the round is over. Cancel-safe.
    pub(super) fn next(&mut self) -> stream::Next<'_, BoxStream<'static, LostRight>> {
        self.findings.next()
    }

    /// When another round is due, if one is.
    pub(super) fn next_round(&self) -> Option<Instant> {
        self.next_round
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins a round; [`Session::apply_finding`] goes on. With `since` what is remembered from
    /// before does not count.
    ///
    /// There is one round at a time. A doubt takes the place of the running round, which
    /// may have had its answers before things changed; but doubts begin one round a
    /// second at most, since a client can raise them about its own token.
    pub(super) fn start_revalidation(&mut self, cause: RevalidationCause, since: Option<Epoch>) {
        let now = Instant::now();
        let mut cause = cause;
        let mut open = HashMap::new();
        if let Some(running) = &mut self.confirming {
            match (cause, running.cause) {
                (RevalidationCause::Interval, _) => return,
                // Nobody puts off the round for the rooms by a doubt about the token.
                (_, RevalidationCause::Interval) => cause = RevalidationCause::Invalidated,
                (_, before) => {
                    if now < running.start + MIN_ROUND_INTERVAL {
                        running.next_round = Some(running.start + MIN_ROUND_INTERVAL);
                        return;
                    }
                    if before == RevalidationCause::Invalidated {
                        cause = RevalidationCause::Invalidated;
                    }
                    open.clone_from(&running.open.lock());
                }
            }
        }
        self.begin_round(cause, since, open);
    }

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
            interval: self.settings.recheck_interval.get(),
            open: Arc::clone(&open),
        };
        self.confirming = Some(Box::new(Revalidation {
            cause,
            start: round.start,
            findings: round.findings(rooms),
            open,
            next_round: None,
        }));
    }

    /// Begins the round that a doubt during the last one asked for.
    pub(super) fn recheck_again(&mut self) {
        let last = self.confirming.take_if(|round| round.next_round.is_some());
        if let Some(last) = last {
            let since = self.services.invalidations.next_epoch();
            let open = last.open.lock().clone();
            self.begin_round(RevalidationCause::Invalidated, Some(since), open);
        }
    }

    /// Does what a finding demands; without one the round is over.
    pub(super) async fn apply_finding(&mut self, finding: Option<LostRight>) -> LoopResult {
        let Some(finding) = finding else {
            // The next round, if one was asked for, begins when it is due.
            match self.confirming.as_mut() {
                Some(round) if round.next_round.is_some() => {
                    round.findings = stream::pending().boxed();
                }
                _ => self.confirming = None,
            }
            return Ok(());
        };
        match (finding.right, finding.is_denied) {
            (Right::Token, true) => Err(CloseReason::Revoked),
            (Right::Token, false) => {
                // Laravel away, a user who is throttled, or a token of another user now.
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

/// What a round of requests needs.
struct RevalidationRound {
    backend: CurrentBackend,
    user: User,
    token: Token,
    client_context: ClientContext,
    cause: RevalidationCause,
    since: Option<Epoch>,
    start: Instant,
    interval: Duration,
    open: Open,
}

impl RevalidationRound {
    /// Asks about the token and the rooms: at once after a doubt; else about the rooms
    /// once the token is good, which spares Laravel the rest if it is not.
    fn findings(self, rooms: Vec<RoomName>) -> BoxStream<'static, LostRight> {
        let cause = self.cause;
        let round = Arc::new(self);
        let of_token = {
            let round = Arc::clone(&round);
            async move { round.token().await }.boxed()
        };
        let of_rooms = rooms.into_iter().map(move |room| {
            let round = Arc::clone(&round);
            async move { round.room(room).await }.boxed()
        });
        let found = |found| std::future::ready(found);
        match cause {
            RevalidationCause::Invalidated | RevalidationCause::TokenDoubt => {
                let all: FuturesUnordered<_> = [of_token].into_iter().chain(of_rooms).collect();
                all.filter_map(found).boxed()
            }
            RevalidationCause::Interval => {
                let rooms: Vec<_> = of_rooms.collect();
                let rooms = stream::iter(rooms).buffer_unordered(MAX_CONCURRENT_ROOMS);
                stream::once(of_token)
                    .chain(rooms)
                    .filter_map(found)
                    .boxed()
            }
        }
    }

    async fn token(&self) -> Option<LostRight> {
        self.settle(Right::Token, || self.identify()).await
    }

    async fn room(&self, room: RoomName) -> Option<LostRight> {
        let ask = || async move {
            let backend = self.backend.get();
            let granted = backend
                .access
                .authorize(&self.user, room, self.auth_request());
            match granted.await {
                Ok(_) => Ok(()),
                // Of a token that is good it is a no to this ticket. Of one that is not,
                // the request about the token says so.
                Err(Error::TokenRefused) => match self.identify().await {
                    Ok(()) => Err(Error::Denied),
                    Err(Error::Denied | Error::TokenRefused) => Ok(()),
                    Err(unavailable) => Err(unavailable),
                },
                Err(error) => Err(error),
            }
        };
        self.settle(Right::Room(room), ask).await
    }

    /// Confirms `right`, or finds that it ends; either way it is no longer open. A room
    /// that is joined anew is a new right.
    async fn settle<F>(&self, right: Right, ask: impl Fn() -> F) -> Option<LostRight>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let confirmed = self.confirm(right, ask).await;
        self.open.lock().remove(&right);
        confirmed.err()
    }

    /// Asks whether the token is still good, and still this user's: a session under
    /// another id could not be found by it.
    async fn identify(&self) -> Result<(), Error> {
        let backend = self.backend.get();
        let identified = backend.identity.identify(self.auth_request()).await?;
        if identified.user.id() == self.user.id() {
            Ok(())
        } else {
            Err(Error::OtherUser)
        }
    }

    fn auth_request(&self) -> AuthRequest {
        let auth_request = AuthRequest::new(&self.token, &self.client_context).since(self.since);
        match self.cause {
            RevalidationCause::Invalidated | RevalidationCause::TokenDoubt => auth_request.urgent(),
            RevalidationCause::Interval => auth_request,
        }
    }

    /// Asks until Laravel decides, or until that has taken too long.
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
            let answer = match end_of_doubt {
                Some(end) => tokio::time::timeout_at(end, ask()).await,
                None => Ok(ask().await),
            };
            let (retry_after, is_throttled) = match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Error::Denied | Error::TokenRefused)) => {
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
            let again = Instant::now() + self.pause(retry_after);
            match end_of_doubt.or_else(|| self.end_of_interval(is_throttled)) {
                Some(end) if again >= end => {
                    tokio::time::sleep_until(end).await;
                    return Err(unconfirmed);
                }
                _ => tokio::time::sleep_until(again).await,
            }
        }
    }

    /// When `right` ends unless it is confirmed, if it is in doubt.
    fn end_of_doubt(&self, right: Right) -> Option<Instant> {
        if self.cause == RevalidationCause::Interval {
            return None;
        }
        let mut open = self.open.lock();
        Some(*open.entry(right).or_insert(self.start + CONFIRM_TIMEOUT))
    }

    /// When a right ends that the periodic round cannot confirm; none in an outage.
    fn end_of_interval(&self, is_throttled: bool) -> Option<Instant> {
        let access: &Authorizer = &self.backend.get().access;
        let is_outage = !is_throttled && !access.has_granted_since(self.start);
        (!is_outage).then(|| self.start + self.interval)
    }

    /// Until when Laravel said, and a little longer, so that users who were throttled
    /// together do not come back together.
    fn pause(&self, retry_after: Option<Duration>) -> Duration {
        let pause = retry_after.unwrap_or(match self.cause {
            RevalidationCause::Invalidated | RevalidationCause::TokenDoubt => RETRY_INTERVAL,
            RevalidationCause::Interval => OUTAGE_RETRY_INTERVAL,
        });
        pause.max(RETRY_INTERVAL) + MAX_JITTER.mul_f64(fastrand::f64())
    }
}

/// How long a right holds that is in doubt.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// When to ask again, where Laravel does not say.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
const OUTAGE_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// How soon a round takes the place of another for a new doubt.
const MIN_ROUND_INTERVAL: Duration = Duration::from_secs(1);
const MAX_JITTER: Duration = Duration::from_secs(1);
/// Rooms of one session that are asked about at once.
const MAX_CONCURRENT_ROOMS: usize = 8;
