//! The first moments of a session: who is there, and whether it may stay.

use std::sync::Arc;

use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::super::gateway::Services;
use super::super::wire::Event;
use super::super::{CloseReason, Settings};
use super::{FAREWELL, Session, close};
use crate::auth::{self, Caller, Identified, Token, patiently};
use crate::ids::SessionId;
use crate::progress::Progress;

/// What is known of a session before it has said a word.
#[derive(Debug)]
pub(in crate::ws) struct Opening {
    pub(in crate::ws) id: SessionId,
    pub(in crate::ws) token: Option<Token>,
    pub(in crate::ws) caller: Caller,
    pub(in crate::ws) services: Services,
    pub(in crate::ws) settings: Arc<Settings>,
    /// Moves with each message; what comes besides is noise.
    pub(in crate::ws) progress: Progress,
}

/// Serves a session from its first moment to its last. One log line says that
/// it is open, one how it ended.
pub(in crate::ws) async fn run<S>(mut socket: WebSocketStream<S>, opening: Opening)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (id, client, start) = (opening.id, opening.caller.client, Instant::now());
    let metrics = Arc::clone(&opening.services.metrics);
    let (token, identified) = match identify(&opening).await {
        Ok(known) => known,
        Err((reason, cause)) => {
            if reason == CloseReason::AuthenticationFailed {
                let token = opening.token.as_ref().map(|token| token.secret().short());
                opening.services.limits.failed(client, token);
            }
            let reason_name = reason.name();
            tracing::info!(session = %id, client.ip = %client, reason = reason_name, cause, "session refused");
            metrics.closes.add(reason.name());
            refuse(&mut socket, reason).await;
            return;
        }
    };
    let name = identified.user.id().clone();
    tracing::info!(session = %id, client.ip = %client, user = %name, "session open");
    // In a box: most of a session's life needs far less than its beginning.
    let mut session = Box::new(Session::new(socket, opening, token, identified));
    let reason = session.serve().await;
    metrics.closes.add(reason.name());
    session.end(reason).await;
    let (reason, seconds) = (reason.name(), start.elapsed().as_secs());
    tracing::info!(session = %id, client.ip = %client, user = %name, reason, seconds, "session closed");
}

/// Asks Laravel who the client is; an error says why not, and more for the log.
async fn identify(opening: &Opening) -> Result<(Token, Identified), (CloseReason, String)> {
    let services = &opening.services;
    let Some(token) = opening.token.clone() else {
        return Err((CloseReason::NoToken, String::new()));
    };
    let ask = || services.identity.identify(&token, &opening.caller, None);
    let answer = tokio::select! {
        answer = patiently(services.patience, ask) => answer,
        () = services.drain.token().cancelled() => {
            return Err((CloseReason::Restart, String::new()));
        }
    };
    match answer {
        Ok(identified) => Ok((token, identified)),
        Err(auth::Error::Denied | auth::Error::TokenRefused) => {
            Err((CloseReason::AuthenticationFailed, String::new()))
        }
        Err(auth::Error::Unavailable { reason, .. }) => Err((CloseReason::Unavailable, reason)),
    }
}

/// Tells a client why it is not let in, in the old server's words, and closes.
async fn refuse<S>(socket: &mut WebSocketStream<S>, reason: CloseReason)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let message = match reason {
        CloseReason::NoToken => "No authentication token provided",
        CloseReason::AuthenticationFailed => "Authentication failed",
        _ => "The service is not available; try again",
    };
    let event = Event::Error {
        message,
        code: reason.name(),
        ticket_id: None,
        upload_id: None,
    };
    let telling = socket.send(Message::Text(event.text()));
    if let Ok(Ok(())) = tokio::time::timeout(FAREWELL, telling).await {
        close(socket, reason).await;
    }
}
