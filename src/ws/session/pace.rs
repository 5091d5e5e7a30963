//! How much a session's client may say, and how fast.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{CloseReason, Going, Session};
use crate::limit::{Limit, SessionRate};
use crate::units::Count;
use crate::ws::Settings;

/// The rates of one session.
#[derive(Debug)]
pub(super) struct Paces {
    messages: Pace,
    bytes: Pace,
    joins: Pace,
}

#[derive(Debug)]
struct Pace {
    rate: SessionRate,
    burst: Count,
    /// Since when the client has sent more than it may, without a pause.
    pressing: Option<Instant>,
}

/// What counts against a rate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spent {
    Message,
    Bytes(usize),
    Join,
}

impl Spent {
    fn limit(self) -> Limit {
        match self {
            Self::Message => Limit::MessagesPerSecond,
            Self::Bytes(_) => Limit::BytesPerSecond,
            Self::Join => Limit::JoinsPerMinute,
        }
    }
}

impl Paces {
    pub(super) fn new(settings: &Settings) -> Self {
        let bytes = settings.bytes_per_second.get();
        let burst = |n: usize| Count::new(u32::try_from(n).unwrap_or(u32::MAX));
        let (messages, joins) = (settings.message_burst, settings.join_burst);
        // The longest message must pass at once.
        let most = burst(bytes.max(settings.max_message.get()));
        Self {
            messages: Pace::new(
                SessionRate::per_second(settings.messages_per_second, messages),
                messages,
            ),
            bytes: Pace::new(SessionRate::per_second(burst(bytes), most), most),
            joins: Pace::new(
                SessionRate::per_minute(settings.joins_per_minute, joins),
                joins,
            ),
        }
    }

    fn of(&mut self, spent: Spent) -> (&mut Pace, usize) {
        match spent {
            Spent::Message => (&mut self.messages, 1),
            Spent::Bytes(bytes) => (&mut self.bytes, bytes),
            Spent::Join => (&mut self.joins, 1),
        }
    }
}

impl Pace {
    fn new(rate: SessionRate, burst: Count) -> Self {
        Self {
            rate,
            burst,
            pressing: None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Slows a client down to its rate. Only who presses on for long is closed:
    /// a desk that joins all its tickets at once is no flood.
    pub(super) async fn pace(&mut self, spent: Spent) -> Going {
        let flood = self.settings.flood_timeout.get();
        let mut waited = false;
        loop {
            let (pace, n) = self.paces.of(spent);
            let Err(wait) = pace.rate.check(n, pace.burst) else {
                break;
            };
            let pressing = *pace.pressing.get_or_insert_with(Instant::now);
            // Counted once, however long it waits.
            if !waited && !self.over(spent.limit()) {
                break;
            }
            waited = true;
            if pressing.elapsed() >= flood {
                self.refuse("too_many_messages", "You send too many messages", None)
                    .await?;
                return Err(CloseReason::TooManyMessages);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                why = self.inbox.departure() => return Err(why.into()),
            }
        }
        if !waited {
            self.paces.of(spent).0.pressing = None;
        }
        Ok(())
    }
}
