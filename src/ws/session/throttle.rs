//! How much a session's client may say, and how fast. What is too much waits, and with
//! it all that the client says after it; the session itself goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::{CloseReason, LoopResult, Session};
use crate::core::ids::{RoomName, RowId};
use crate::core::units::PositiveCount;
use crate::limit::{Limit, SessionRate};
use crate::ws::Settings;

/// The rates of one session.
#[derive(Debug)]
pub(super) struct SessionRates {
    messages: ThrottledRate,
    bytes: ThrottledRate,
    joins: ThrottledRate,
    /// Joins of all sessions of the user.
    user_joins: Arc<SessionRate>,
}

#[derive(Debug)]
struct ThrottledRate {
    rate: SessionRate,
    burst: PositiveCount,
    /// Since when the client has sent more than it may, without a pause.
    pressing: Option<Instant>,
}

/// What waits until the client is within its rate again.
#[derive(Debug)]
pub(super) struct PausedOperation {
    pub(super) until: Instant,
    then: RateLimited,
}

/// Something that counts against a rate before it is done.
#[derive(Debug)]
pub(super) enum RateLimited {
    /// A message, as one.
    Message(Message),
    /// A message that has been counted as one, by its length.
    Bytes(Message),
    /// A binary frame that is no part of an upload.
    StrayChunk(Message),
    /// To join a ticket.
    Join(RowId),
    /// The same, counted for its session.
    UserJoin(RowId),
}

impl RateLimited {
    fn limit(&self) -> Limit {
        match self {
            Self::Message(_) | Self::StrayChunk(_) => Limit::MessagesPerSecond,
            Self::Bytes(_) => Limit::BytesPerSecond,
            Self::Join(_) | Self::UserJoin(_) => Limit::JoinsPerMinute,
        }
    }
}

impl SessionRates {
    /// The rates that `settings` allow, joins together with the user's other sessions.
    pub(super) fn new(settings: &Settings, user_joins: Arc<SessionRate>) -> Self {
        let bytes = settings.bytes_per_second.get();
        let burst = |n: usize| PositiveCount::new(u32::try_from(n).unwrap_or(u32::MAX));
        let (messages, joins) = (settings.message_burst, settings.join_burst);
        // The longest message must pass at once.
        let most = burst(bytes.max(settings.max_message.get()));
        Self {
            messages: ThrottledRate::new(
                SessionRate::per_second(settings.messages_per_second, messages),
                messages,
            ),
            bytes: ThrottledRate::new(SessionRate::per_second(burst(bytes), most), most),
            joins: ThrottledRate::new(
                SessionRate::per_minute(settings.joins_per_minute, joins),
                joins,
            ),
            user_joins,
        }
    }

    /// From now on joins count against `user_joins` too.
    pub(super) fn share_user_joins(&mut self, user_joins: Arc<SessionRate>) {
        self.user_joins = user_joins;
    }

    /// The rate at which all sessions of a user may join: that of a few of them. The
    /// first of them brings it.
    pub(super) fn user_joins(settings: &Settings) -> SessionRate {
        let times =
            |count: PositiveCount| PositiveCount::new(count.get().saturating_mul(USER_JOIN_FACTOR));
        SessionRate::per_minute(times(settings.joins_per_minute), times(settings.join_burst))
    }

    /// Counts `costly`.
    fn check(&mut self, costly: &RateLimited) -> RateCheck<'_> {
        let (pace, n) = match costly {
            RateLimited::Message(_) | RateLimited::StrayChunk(_) => (&mut self.messages, 1),
            RateLimited::Bytes(frame) => (&mut self.bytes, frame.len()),
            RateLimited::Join(_) => (&mut self.joins, 1),
            RateLimited::UserJoin(_) => {
                return RateCheck {
                    wait: self.user_joins.check(1, PositiveCount::new(1)).err(),
                    pressing: None,
                };
            }
        };
        RateCheck {
            wait: pace.rate.check(n, pace.burst).err(),
            pressing: Some(&mut pace.pressing),
        }
    }
}

struct RateCheck<'a> {
    /// How long it must wait.
    wait: Option<Duration>,
    /// Of a rate that ends a session that presses on. What a user's other sessions do
    /// only lets this one wait.
    pressing: Option<&'a mut Option<Instant>>,
}

impl ThrottledRate {
    fn new(rate: SessionRate, burst: PositiveCount) -> Self {
        Self {
            rate,
            burst,
            pressing: None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Does `costly` once the client's rate allows it: now, or when [`Session::resume_paused`]
    /// is due. Only a client that presses on for long is closed: a desk that joins all
    /// its tickets at once is no flood.
    pub(super) async fn run_rate_limited(&mut self, costly: RateLimited) -> LoopResult {
        self.run_or_pause(costly, false).await
    }

    /// Does what was paused, or pauses it again.
    pub(super) async fn resume_paused(&mut self) -> LoopResult {
        match self.paused.take() {
            Some(paused) => self.run_or_pause(paused.then, true).await,
            None => Ok(()),
        }
    }

    async fn run_or_pause(&mut self, costly: RateLimited, was_paused: bool) -> LoopResult {
        let flood = self.settings.flood_timeout.get();
        let RateCheck { wait, pressing } = self.paces.check(&costly);
        let Some(wait) = wait else {
            if let Some(pressing) = pressing.filter(|_| !was_paused) {
                *pressing = None;
            }
            return self.run_now(costly).await;
        };
        let now = Instant::now();
        let since = pressing.map_or(now, |pressing| *pressing.get_or_insert(now));
        // Counted once, however long it waits.
        if !was_paused && !self.report_exceeded(costly.limit()) {
            return self.run_now(costly).await;
        }
        if now - since >= flood {
            self.send_error("too_many_messages", "You send too many messages", None)
                .await?;
            return Err(CloseReason::TooManyMessages);
        }
        self.paused = Some(Box::new(PausedOperation {
            until: now + wait,
            then: costly,
        }));
        Ok(())
    }

    async fn run_now(&mut self, costly: RateLimited) -> LoopResult {
        match costly {
            RateLimited::Message(frame) => {
                Box::pin(self.run_rate_limited(RateLimited::Bytes(frame))).await
            }
            RateLimited::Bytes(frame) => Box::pin(self.execute_frame(frame)).await,
            RateLimited::StrayChunk(frame) => self.reject_chunk(&frame).await,
            RateLimited::Join(ticket) => {
                Box::pin(self.run_rate_limited(RateLimited::UserJoin(ticket))).await
            }
            RateLimited::UserJoin(ticket) => {
                self.start_join(RoomName::ticket(ticket));
                Ok(())
            }
        }
    }
}

/// Of how many sessions' joins a user has room for.
const USER_JOIN_FACTOR: u32 = 3;
