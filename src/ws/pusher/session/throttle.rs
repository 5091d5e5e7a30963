//! The rates of a Pusher session's messages and subscriptions. One over its rate is paused, and
//! nothing more is read from the client until it is handled; events still reach the client
//! meanwhile. A client that stays over its rate for too long is closed.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::super::wire::{Event, SubscribeRequest};
use super::{CloseReason, LoopResult, Session};
use crate::limit::Limit;
use crate::ws::Settings;
use crate::ws::throttled_rate::{Excess, ThrottledRate};

/// The rates of one session.
#[derive(Debug)]
pub(super) struct SessionRates {
    messages: ThrottledRate,
    bytes: ThrottledRate,
    joins: ThrottledRate,
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
    /// A subscription, counted as a join. A repeated one counts, too: its response may list
    /// many users.
    Subscribe(SubscribeRequest),
}

impl RateLimited {
    /// Returns the limit that is reported when the rate is exceeded.
    fn limit(&self) -> Limit {
        match self {
            Self::Message(_) => Limit::MessagesPerSecond,
            Self::Bytes(_) => Limit::BytesPerSecond,
            Self::Subscribe(_) => Limit::JoinsPerMinute,
        }
    }
}

impl SessionRates {
    /// Creates the rates of `settings`.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            messages: ThrottledRate::messages(settings),
            bytes: ThrottledRate::bytes(settings),
            joins: ThrottledRate::joins(settings),
        }
    }

    /// Counts `operation` against its rate.
    fn check(&mut self, operation: &RateLimited, was_paused: bool) -> Result<(), Excess> {
        let (rate, n) = match operation {
            RateLimited::Message(_) => (&mut self.messages, 1),
            RateLimited::Bytes(frame) => (&mut self.bytes, frame.len()),
            RateLimited::Subscribe(_) => (&mut self.joins, 1),
        };
        rate.count(n, was_paused)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Runs `operation` once the client's rates allow it: now, or when
    /// [`Session::resume_paused`] is due.
    ///
    /// # Errors
    /// [`CloseReason::TooManyMessages`] if the client stays over a rate for too long, and the
    /// reason for which the operation ends the session.
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

    async fn run_or_pause(
        &mut self,
        mut operation: RateLimited,
        mut was_paused: bool,
    ) -> LoopResult {
        loop {
            if let Err(excess) = self.rates.check(&operation, was_paused)
                // Reported once, however often it is paused.
                && (was_paused || self.report_exceeded(operation.limit()))
            {
                if excess.lasted >= self.settings.throttle_timeout.get() {
                    let message = "You send too many messages";
                    let code = Some(CLIENT_EVENT_RATE);
                    self.send_event(&Event::Error { code, message }).await?;
                    return Err(CloseReason::TooManyMessages);
                }
                let until = Instant::now() + excess.wait;
                self.paused = Some(Box::new(PausedOperation { until, operation }));
                return Ok(());
            }
            operation = match operation {
                RateLimited::Message(frame) => RateLimited::Bytes(frame),
                RateLimited::Bytes(frame) => return Box::pin(self.execute_frame(frame)).await,
                RateLimited::Subscribe(request) => return self.subscribe(request).await,
            };
            was_paused = false;
        }
    }
}

/// The code of the protocol for too many messages. In a close frame it would keep pusher-js
/// from ever connecting again.
const CLIENT_EVENT_RATE: u16 = 4301;
