//! What a session asks of its socket, each in its time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, protocol::CloseFrame};

use super::super::CloseReason;
use crate::runtime::activity::ControlFlood;

/// Sends the close frame and waits a moment for the answer, and for the end of
/// what is still on its way: a connection that is closed with bytes unread is
/// reset, and the close frame is lost with it.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    reason: CloseReason,
) {
    let Some((code, text)) = reason.frame() else {
        return;
    };
    let frame = CloseFrame {
        code: code.into(),
        reason: text.into(),
    };
    let farewell = async {
        match reason {
            // tungstenite has the answer to the client's own close frame ready.
            CloseReason::Client => socket.flush().await?,
            _ => socket.close(Some(frame)).await?,
        }
        while let Some(Ok(_)) = socket.next().await {}
        let stream = socket.get_mut();
        stream.shutdown().await?;
        tokio::io::copy(stream, &mut tokio::io::sink()).await?;
        Ok::<_, tungstenite::Error>(())
    };
    // Nothing is lost if it takes too long: the connection ends either way.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, farewell).await;
}

/// One step of a write.
pub(super) async fn with_timeout<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, tungstenite::Error>>,
) -> Result<T, CloseReason> {
    let mut step = pin!(step);
    // Most need no time at all: the clock is asked for those alone that do.
    let done = match poll_fn(|cx| Poll::Ready(step.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => tokio::time::timeout(limit, step).await,
    };
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(close_reason(&error)),
        Err(_) => Err(CloseReason::Slow),
    }
}

/// What an error of tungstenite means for the session.
pub(super) fn close_reason(error: &tungstenite::Error) -> CloseReason {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
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

/// How long a client has to answer our close frame.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
