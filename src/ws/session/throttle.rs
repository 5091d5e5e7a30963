//! The rate limits of one session. An operation over its rate is paused, and nothing more is
//! read from the client until it is done; events still reach the client meanwhile. A client
//! that stays over its rate for too long is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::{CloseReason, LoopResult, Session};
use crate::core::ids::RoomName;
use crate::core::units::PositiveCount;
use crate::limit::{Limit, SessionRate};
use crate::rooms::Since;
use crate::ws::Settings;
use crate::ws::throttled_rate::{Excess, ThrottledRate};

/// The rates of one session.
#[derive(Debug)]
pub(super) struct SessionRates {
    messages: ThrottledRate,
    bytes: ThrottledRate,
    joins: ThrottledRate,
    /// The joins of all sessions of the user together.
    user_joins: Arc<SessionRate>,
}

/// An operation that waits until the client is within its rate.
#[derive(Debug)]
pub(super) struct PausedOperation {
    /// The time at which to try again.
    pub(super) until: Instant,
    operation: RateLimited,
}

/// An operation that counts against a rate before it runs.
#[derive(Debug)]
pub(super) enum RateLimited {
    /// A message, counted as one.
    Message(Message),
    /// A message within the message rate, counted by its length.
    Bytes(Message),
    /// A binary frame that is no part of an upload, counted as a message.
    StrayChunk(Message),
    /// A join, counted for the session.
    Join(RoomName, Option<Since>),
    /// A join within the session's rate, counted for the user.
    UserJoin(RoomName, Option<Since>),
}

impl RateLimited {
    /// Returns the limit that is reported when the rate is exceeded.
    fn limit(&self) -> Limit {
        match self {
            Self::Message(_) | Self::StrayChunk(_) => Limit::MessagesPerSecond,
            Self::Bytes(_) => Limit::BytesPerSecond,
            Self::Join(..) | Self::UserJoin(..) => Limit::JoinsPerMinute,
        }
    }
}

impl SessionRates {
    /// Creates the rates of `settings`. Joins count against `user_joins`, too.
    pub(super) fn new(settings: &Settings, user_joins: Arc<SessionRate>) -> Self {
        Self {
            messages: ThrottledRate::messages(settings),
            bytes: ThrottledRate::bytes(settings),
            joins: ThrottledRate::joins(settings),
            user_joins,
        }
    }

    /// Counts joins against `user_joins` from now on.
    pub(super) fn share_user_joins(&mut self, user_joins: Arc<SessionRate>) {
        self.user_joins = user_joins;
    }

    /// Creates the rate that all sessions of one user share: [`USER_JOIN_FACTOR`] times that
    /// of one session.
    pub(super) fn user_joins(settings: &Settings) -> SessionRate {
        let times =
            |count: PositiveCount| PositiveCount::new(count.get().saturating_mul(USER_JOIN_FACTOR));
        SessionRate::per_minute(times(settings.joins_per_minute), times(settings.join_burst))
    }

    /// Counts `operation` against its rate, unless that is exceeded. Other sessions of the user
    /// delay this one but never end it, so an excess of their rate has no duration.
    fn check(&mut self, operation: &RateLimited, was_paused: bool) -> Result<(), Excess> {
        let (rate, n) = match operation {
            RateLimited::Message(_) | RateLimited::StrayChunk(_) => (&mut self.messages, 1),
            RateLimited::Bytes(frame) => (&mut self.bytes, frame.len()),
            RateLimited::Join(..) => (&mut self.joins, 1),
            RateLimited::UserJoin(..) => {
                let lasted = Duration::ZERO;
                let check = self.user_joins.check(1, PositiveCount::new(1));
                return check.map_err(|wait| Excess { wait, lasted });
            }
        };
        rate.count(n, was_paused)
    }
}

impl SessionRates {
    /// Counts a join of a `resume` for the session, unless it is counted there already, and
    /// for the user.
    ///
    /// # Errors
    /// The delay of the join, if a rate is exceeded.
    pub(super) fn check_queued_join(&self, is_counted: bool) -> Result<(), JoinDelay> {
        let delay = |is_counted| {
            move |wait| JoinDelay {
                until: Instant::now() + wait,
                is_counted,
            }
        };
        if !is_counted {
            let check = self.joins.check(1);
            check.map_err(delay(false))?;
        }
        let check = self.user_joins.check(1, PositiveCount::new(1));
        check.map_err(delay(true))
    }
}

/// The delay of the joins of a `resume` by a rate.
#[derive(Debug)]
pub(super) struct JoinDelay {
    /// The time at which to try again.
    pub(super) until: Instant,
    /// Whether the next join is counted for the session already.
    pub(super) is_counted: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Runs `operation` once the client's rate allows it: now, or when
    /// [`Session::resume_paused`] is due.
    ///
    /// # Errors
    /// [`CloseReason::TooManyMessages`] if the client stays over its rate for too long. A
    /// short burst, such as a desk that joins all its tickets, is only delayed.
    pub(super) async fn run_rate_limited(&mut self, operation: RateLimited) -> LoopResult {
        self.run_or_pause(operation, false).await
    }

    /// Runs the paused operation, or pauses it again.
    pub(super) async fn resume_paused(&mut self) -> LoopResult {
        match self.paused.take() {
            Some(paused) => self.run_or_pause(paused.operation, true).await,
            None => Ok(()),
        }
    }

    /// Runs `operation` if its rate allows it, or pauses it.
    async fn run_or_pause(&mut self, operation: RateLimited, was_paused: bool) -> LoopResult {
        let Err(excess) = self.rates.check(&operation, was_paused) else {
            return self.run_now(operation).await;
        };
        // Reported once, however often it is paused.
        if !was_paused && !self.report_exceeded(operation.limit()) {
            return self.run_now(operation).await;
        }
        if excess.lasted >= self.settings.throttle_timeout.get() {
            self.send_error("too_many_messages", "You send too many messages", None)
                .await?;
            return Err(CloseReason::TooManyMessages);
        }
        self.paused = Some(Box::new(PausedOperation {
            until: Instant::now() + excess.wait,
            operation,
        }));
        Ok(())
    }

    /// Runs `operation`, or counts it against its next rate.
    async fn run_now(&mut self, operation: RateLimited) -> LoopResult {
        match operation {
            RateLimited::Message(frame) => {
                Box::pin(self.run_rate_limited(RateLimited::Bytes(frame))).await
            }
            RateLimited::Bytes(frame) => Box::pin(self.execute_frame(frame)).await,
            RateLimited::StrayChunk(frame) => self.reject_chunk(&frame).await,
            RateLimited::Join(room, since) => {
                Box::pin(self.run_rate_limited(RateLimited::UserJoin(room, since))).await
            }
            RateLimited::UserJoin(room, since) => {
                self.start_join(room, since);
                Ok(())
            }
        }
    }
}

/// The joins of all sessions of a user together, in multiples of those of one session.
const USER_JOIN_FACTOR: u32 = 3;
