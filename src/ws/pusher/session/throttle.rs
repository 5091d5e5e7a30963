//! The rates of a Pusher session's messages. A message over its rate is paused, and nothing
//! more is read from the client until it is handled; events still reach the client meanwhile.
//! A client that stays over its rate for too long is closed.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::super::wire::Event;
use super::{CloseReason, LoopResult, Session};
use crate::limit::Limit;
use crate::ws::Settings;
use crate::ws::throttled_rate::ThrottledRate;

/// The rates of one session.
#[derive(Debug)]
pub(super) struct MessageRates {
    messages: ThrottledRate,
    bytes: ThrottledRate,
}

/// A message that waits until the client is within its rate.
#[derive(Debug)]
pub(super) struct PausedMessage {
    /// The time at which to try again.
    pub(super) until: Instant,
    frame: Message,
    rate: RateKind,
}

/// The rate that a message counts against next.
#[derive(Clone, Copy, Debug)]
enum RateKind {
    Messages,
    Bytes,
}

impl RateKind {
    /// Returns the limit that is reported when the rate is exceeded.
    fn limit(self) -> Limit {
        match self {
            Self::Messages => Limit::MessagesPerSecond,
            Self::Bytes => Limit::BytesPerSecond,
        }
    }
}

impl MessageRates {
    /// Creates the rates of `settings`.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            messages: ThrottledRate::messages(settings),
            bytes: ThrottledRate::bytes(settings),
        }
    }

    /// Counts `frame` against a rate.
    ///
    /// # Errors
    /// Returns the time until it passes, and for how long the client has been over the rate.
    fn check(
        &mut self,
        kind: RateKind,
        frame: &Message,
        was_paused: bool,
    ) -> Result<(), (Duration, Duration)> {
        let (rate, n) = match kind {
            RateKind::Messages => (&mut self.messages, 1),
            RateKind::Bytes => (&mut self.bytes, frame.len()),
        };
        match rate.check(n) {
            Ok(()) => {
                // A message that had to wait is no sign that the client has slowed down.
                if !was_paused {
                    rate.exceeded_since = None;
                }
                Ok(())
            }
            Err(wait) => {
                let since = rate.exceeded_since.get_or_insert_with(Instant::now);
                Err((wait, since.elapsed()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Handles `frame` once the client's rates allow it: now, or when
    /// [`Session::resume_paused`] is due.
    ///
    /// # Errors
    /// [`CloseReason::TooManyMessages`] if the client stays over a rate for too long, and the
    /// reason for which the message ends the session.
    pub(super) async fn throttle(&mut self, frame: Message) -> LoopResult {
        self.run_or_pause(frame, RateKind::Messages, false).await
    }

    /// Handles the paused message, or pauses it again.
    pub(super) async fn resume_paused(&mut self) -> LoopResult {
        match self.paused.take() {
            Some(paused) => self.run_or_pause(paused.frame, paused.rate, true).await,
            None => Ok(()),
        }
    }

    async fn run_or_pause(
        &mut self,
        frame: Message,
        mut rate: RateKind,
        mut was_paused: bool,
    ) -> LoopResult {
        loop {
            if let Err((wait, exceeded)) = self.rates.check(rate, &frame, was_paused)
                // Reported once, however often it is paused.
                && (was_paused || self.report_exceeded(rate.limit()))
            {
                if exceeded >= self.settings.throttle_timeout.get() {
                    let message = "You send too many messages";
                    let code = Some(CLIENT_EVENT_RATE);
                    self.send_event(&Event::Error { code, message }).await?;
                    return Err(CloseReason::TooManyMessages);
                }
                let until = Instant::now() + wait;
                self.paused = Some(PausedMessage { until, frame, rate });
                return Ok(());
            }
            rate = match rate {
                RateKind::Messages => RateKind::Bytes,
                RateKind::Bytes => return self.execute_frame(frame).await,
            };
            was_paused = false;
        }
    }
}

/// The code of the protocol for too many messages. In a close frame it would keep pusher-js
/// from ever connecting again.
const CLIENT_EVENT_RATE: u16 = 4301;
