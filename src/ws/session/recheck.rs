//! Confirming the rights of a session that stays: is its token still good, may it
//! still see its rooms? A definite no removes, at once.
//!
//! After a doubt (Laravel called for a recheck, a log-out was unclear) what Laravel does
//! not confirm within [`CONFIRM_TIMEOUT`] ends with a code that says come back: a user who
//! has Laravel throttle them must not keep what was taken away. The periodic round waits
//! out a real outage, in which Laravel gives nobody an answer, and else allows one more
//! interval.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::super::backend::CurrentBackend;
use super::{CloseReason, Going, Session};
use crate::auth::{Access, Caller, Error, Inquiry, Moment, Token, User};
use crate::ids::RoomName;

/// Why a session's rights are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// They may have ended.
    Doubt,
    /// It is time to.
    Interval,
}

/// What Laravel no longer grants, or does not confirm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding {
    right: Right,
    is_denied: bool,
}

#[derive(Clone, Copy, Debug)]
enum Right {
    Token,
    Room(RoomName),
}

/// A round of requests that is under way.
pub(super) struct Confirmation {
    cause: Cause,
    findings: BoxStream<'static, Finding>,
    /// Whether another round was asked for during this one, which may have had its
    /// answers before things changed.
    is_repeated: bool,
}

impl Confirmation {
    /// The next finding; none when the round is over. Cancel-safe.
    pub(super) fn next(&mut self) -> stream::Next<'_, BoxStream<'static, Finding>> {
        self.findings.next()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins a round; [`Session::found`] goes on. With `since` what is remembered from
    /// before does not count. One round at a time: a doubt takes the place of a round
    /// for the interval, and is looked at once more after a round for another doubt.
    pub(super) fn recheck(&mut self, cause: Cause, since: Option<Moment>) {
        if let Some(running) = &mut self.confirming {
            if cause == Cause::Interval {
                return;
            }
            if running.cause == Cause::Doubt {
                running.is_repeated = true;
                return;
            }
        }
        let rooms: Vec<_> = self.rooms.keys().copied().collect();
        let round = Round {
            backend: self.services.backend.clone(),
            user: self.user.clone(),
            token: self.token.clone(),
            caller: self.caller.clone(),
            cause,
            since,
            start: Instant::now(),
            interval: self.settings.recheck_interval.get(),
        };
        self.confirming = Some(Box::new(Confirmation {
            cause,
            findings: round.findings(rooms),
            is_repeated: false,
        }));
    }

    /// Does what a finding demands; without one the round is over.
    pub(super) async fn found(&mut self, finding: Option<Finding>) -> Going {
        let Some(finding) = finding else {
            let round = self.confirming.take();
            if round.is_some_and(|round| round.is_repeated) {
                let since = self.services.doubts.now();
                self.recheck(Cause::Doubt, Some(since));
            }
            return Ok(());
        };
        match (finding.right, finding.is_denied) {
            (Right::Token, true) => Err(CloseReason::Revoked),
            (Right::Token, false) => {
                tracing::warn!(session = %self.id, user = %self.user.id(), "log-in not confirmed");
                Err(CloseReason::Unavailable)
            }
            (Right::Room(room), is_denied) => self.lose(room, is_denied).await,
        }
    }

    async fn lose(&mut self, room: RoomName, is_denied: bool) -> Going {
        if is_denied {
            self.uploads.lose(room);
        }
        if !self.leave(room) {
            return Ok(());
        }
        let ticket = Some(room.ticket_id());
        let (session, user) = (self.id, self.user.id());
        if is_denied {
            tracing::info!(%session, %user, %room, "access withdrawn");
            let message = "This ticket is no longer open to you";
            self.refuse("access_withdrawn", message, ticket).await
        } else {
            tracing::warn!(%session, %user, %room, "access not confirmed");
            let message = "Your right to this ticket could not be confirmed; join it again";
            self.refuse("access_unconfirmed", message, ticket).await
        }
    }
}

/// What a round of requests needs.
struct Round {
    backend: CurrentBackend,
    user: User,
    token: Token,
    caller: Caller,
    cause: Cause,
    since: Option<Moment>,
    start: Instant,
    interval: Duration,
}

impl Round {
    /// Asks about the token and the rooms: at once after a doubt; else about the rooms
    /// once the token is good, which spares Laravel the rest if it is not.
    fn findings(self, rooms: Vec<RoomName>) -> BoxStream<'static, Finding> {
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
            Cause::Doubt => {
                let all: FuturesUnordered<_> = [of_token].into_iter().chain(of_rooms).collect();
                all.filter_map(found).boxed()
            }
            Cause::Interval => {
                let rooms: Vec<_> = of_rooms.collect();
                let rooms = stream::iter(rooms).buffer_unordered(AT_ONCE);
                stream::once(of_token)
                    .chain(rooms)
                    .filter_map(found)
                    .boxed()
            }
        }
    }

    async fn token(&self) -> Option<Finding> {
        let ask = || {
            let backend = self.backend.get();
            async move { backend.identity.identify(self.inquiry()).await }
        };
        self.confirm(Right::Token, ask).await
    }

    async fn room(&self, room: RoomName) -> Option<Finding> {
        let ask = || {
            let backend = self.backend.get();
            async move {
                let access = &backend.access;
                access.authorize(&self.user, room, self.inquiry()).await
            }
        };
        self.confirm(Right::Room(room), ask).await
    }

    fn inquiry(&self) -> Inquiry {
        let inquiry = Inquiry::new(&self.token, &self.caller).since(self.since);
        match self.cause {
            Cause::Doubt => inquiry.urgent(),
            Cause::Interval => inquiry,
        }
    }

    /// Asks until Laravel decides, or until that has taken too long.
    async fn confirm<T, F>(&self, right: Right, ask: impl Fn() -> F) -> Option<Finding>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            let answer = match self.cause {
                Cause::Doubt => tokio::time::timeout_at(self.start + CONFIRM_TIMEOUT, ask()).await,
                Cause::Interval => Ok(ask().await),
            };
            let (retry_after, is_throttled) = match (answer, right) {
                (Ok(Ok(_)), _) => return None,
                (Ok(Err(Error::Denied)), _) | (Ok(Err(Error::TokenRefused)), Right::Token) => {
                    return Some(Finding {
                        right,
                        is_denied: true,
                    });
                }
                // The request about the token itself decides.
                (Ok(Err(Error::TokenRefused)), Right::Room(_)) | (Err(_), _) => (None, false),
                (
                    Ok(Err(Error::Unavailable {
                        retry_after,
                        is_throttled,
                        ..
                    })),
                    _,
                ) => (retry_after, is_throttled),
            };
            let again = Instant::now() + self.pause(retry_after);
            match self.deadline(is_throttled) {
                Some(deadline) if again >= deadline => {
                    tokio::time::sleep_until(deadline).await;
                    return Some(Finding {
                        right,
                        is_denied: false,
                    });
                }
                _ => tokio::time::sleep_until(again).await,
            }
        }
    }

    /// When a right ends that Laravel does not confirm; none in an outage.
    fn deadline(&self, is_throttled: bool) -> Option<Instant> {
        match self.cause {
            Cause::Doubt => Some(self.start + CONFIRM_TIMEOUT),
            Cause::Interval => {
                let access: &Access = &self.backend.get().access;
                let is_outage = !is_throttled && !access.has_answered_since(self.start);
                (!is_outage).then(|| self.start + self.interval)
            }
        }
    }

    /// When Laravel said, and a little later: who was throttled together does not come
    /// back together.
    fn pause(&self, retry_after: Option<Duration>) -> Duration {
        let pause = retry_after.unwrap_or(match self.cause {
            Cause::Doubt => RETRY_AFTER_DOUBT,
            Cause::Interval => RETRY_IN_OUTAGE,
        });
        pause.max(RETRY_AFTER_DOUBT) + MAX_JITTER.mul_f64(fastrand::f64())
    }
}

/// How long a right holds that is in doubt.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// When to ask again, where Laravel does not say.
const RETRY_AFTER_DOUBT: Duration = Duration::from_secs(2);
const RETRY_IN_OUTAGE: Duration = Duration::from_secs(15);
const MAX_JITTER: Duration = Duration::from_secs(1);
/// Rooms of one session that are asked about at once.
const AT_ONCE: usize = 8;
