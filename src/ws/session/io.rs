//! The timed operations of a session on its socket, and the close reasons of its errors. The
//! sessions of both protocols use them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryFutureExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::super::frame_guard::FrameError;
use super::super::protocol::Event;
use super::super::{CloseReason, Settings};
use super::{LoopResult, Session};
use crate::rooms::{Inbox, MAX_WRITE_BYTES, SharedStream};
use crate::runtime::activity::ControlFlood;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Sends `event` to the client.
    pub(super) async fn send_event(&mut self, event: &Event<'_>) -> LoopResult {
        let frame = self.frame(event);
        self.write([frame]).await
    }

    /// Encodes `event` and counts it as sent: if it cannot be sent, the session ends.
    pub(super) fn frame(&self, event: &Event<'_>) -> Message {
        self.services.metrics.count_event(event.name());
        Message::Text(event.text())
    }

    /// Writes what is queued in the shared stream, then `frames`; see [`write()`].
    pub(super) fn write(
        &mut self,
        frames: impl IntoIterator<Item = Message>,
    ) -> impl Future<Output = LoopResult> {
        let timeout = self.settings.write_timeout.get();
        write(&mut self.socket, &self.inbox, timeout, frames)
    }
}

/// Configures tungstenite. Its read buffer is allocated when the session starts, so it is
/// small here; the default is 128 KiB.
pub(in crate::ws) fn websocket_config(settings: &Settings) -> WebSocketConfig {
    let longest = Some(settings.max_message_size.get());
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(MAX_WRITE_BYTES)
        .max_message_size(longest)
        .max_frame_size(longest)
}

/// Writes what is queued in the stream of `socket`, then `frames`, in one flush.
///
/// # Errors
/// [`CloseReason::Slow`] if the client takes nothing for `timeout`, the reason of an eviction
/// at once, and the reason that fits an error of the socket.
pub(in crate::ws) async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<SharedStream<S>>,
    inbox: &Inbox,
    timeout: Duration,
    frames: impl IntoIterator<Item = Message>,
) -> Result<(), CloseReason> {
    let writing = async {
        // Write by write, for the timeout is that of one write, not of the queue.
        loop {
            let sending = poll_fn(|cx| socket.get_ref().poll_send(cx));
            if with_timeout(timeout, sending.map_err(Into::into)).await? {
                break;
            }
        }
        for frame in frames {
            with_timeout(timeout, socket.feed(frame)).await?;
        }
        with_timeout(timeout, socket.flush()).await
    };
    tokio::select! {
        // Most writes complete at once. Only for one that does not is the inbox polled, and
        // the session's delivery state set to writing.
        biased;
        written = writing => written,
        reason = inbox.evicted() => Err(reason.into()),
    }
}

/// Sends the close frame of `reason`, then waits for the client's own and for its end of the stream, all
/// within [`CLOSE_TIMEOUT`]. A connection that is closed with bytes unread is reset, and the
/// close frame may be lost with it (RFC 6455 §7.1.1).
pub(in crate::ws) async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    reason: CloseReason,
    frame: Option<(u16, &'static str)>,
) {
    let Some((code, text)) = frame else {
        return;
    };
    let frame = CloseFrame {
        code: code.into(),
        reason: text.into(),
    };
    let farewell = async {
        match reason {
            // tungstenite has queued the reply to the client's close frame.
            CloseReason::Client => socket.flush().await?,
            _ => socket.close(Some(frame)).await?,
        }
        while let Some(Ok(_)) = socket.next().await {}
        let stream = socket.get_mut();
        stream.shutdown().await?;
        tokio::io::copy(stream, &mut tokio::io::sink()).await?;
        Ok::<_, tungstenite::Error>(())
    };
    // A failure or a timeout does no harm: the connection ends either way.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, farewell).await;
}

/// Runs one step of a write. Cancel-safe if `step` is.
///
/// # Errors
/// [`CloseReason::Slow`] after `timeout`; otherwise the reason that fits the error of `step`.
pub(super) async fn with_timeout<T>(
    timeout: Duration,
    step: impl Future<Output = Result<T, tungstenite::Error>>,
) -> Result<T, CloseReason> {
    let mut step = pin!(step);
    // Most steps complete at the first poll. Only the others pay for a timer.
    let result = match poll_fn(|cx| Poll::Ready(step.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        // Boxed: the future of a parked session has no room for a timer that it rarely needs.
        Poll::Pending => Box::pin(tokio::time::timeout(timeout, step)).await,
    };
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(close_reason(&error)),
        Err(_) => Err(CloseReason::Slow),
    }
}

/// Maps an error of tungstenite to the reason for the end of the session.
pub(in crate::ws) fn close_reason(error: &tungstenite::Error) -> CloseReason {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
    match frame_error(error) {
        Some(FrameError::Invalid) => return CloseReason::Protocol,
        Some(FrameError::TooLarge) => return CloseReason::TooLarge,
        None => {}
    }
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::Client,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseReason::Lost,
        Error::Capacity(_) => CloseReason::TooLarge,
        Error::Utf8(_) => CloseReason::InvalidText,
        Error::Protocol(_) => CloseReason::Protocol,
        Error::Io(error)
            if error
                .get_ref()
                .is_some_and(|inner| inner.is::<ControlFlood>()) =>
        {
            CloseReason::TooManyMessages
        }
        _ => CloseReason::Lost,
    }
}

/// Returns the violation that the frame guard has found, if `error` is one.
fn frame_error(error: &tungstenite::Error) -> Option<FrameError> {
    match error {
        tungstenite::Error::Io(error) => error.get_ref()?.downcast_ref().copied(),
        _ => None,
    }
}

/// The time that a client has to reply to the edge's close frame.
pub(in crate::ws) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const READ_BUFFER_BYTES: usize = 1024;
