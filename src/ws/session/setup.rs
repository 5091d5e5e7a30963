//! The first moments of a session: who is there, and whether it may stay.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::super::gateway::Services;
use super::super::protocol::Event;
use super::super::{CloseReason, Settings};
use super::Session;
use super::io::{CLOSE_TIMEOUT, close};
use super::shared_stream::{MAX_WRITE_BYTES, SharedStream};
use crate::auth::{
    self, AuthRequest, AuthenticatedUser, ClientContext, Token, retry_while_unavailable,
};
use crate::core::ids::SessionId;
use crate::runtime::activity::ActivityTracker;

/// What is known of a session before it has said a word.
#[derive(Debug)]
pub(in crate::ws) struct SessionSetup {
    pub(in crate::ws) id: SessionId,
    pub(in crate::ws) token: Option<Token>,
    pub(in crate::ws) client_context: ClientContext,
    pub(in crate::ws) services: Arc<Services>,
    pub(in crate::ws) settings: Arc<Settings>,
    /// Moves with each message; what comes besides is noise.
    pub(in crate::ws) activity: ActivityTracker,
}

/// Finds out who is there: a session for somebody whom Laravel knows; nobody
/// else hears more than why. A log line says that it is open, or why it is not.
pub(in crate::ws) async fn set_up<S>(
    stream: S,
    setup: SessionSetup,
) -> Option<EstablishedSession<S>>
where
    S: AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static,
{
    let shared_stream = SharedStream::new(stream, Arc::clone(&setup.services.metrics));
    let config = Some(websocket_config(&setup.settings));
    let mut socket = WebSocketStream::from_raw_socket(shared_stream, Role::Server, config).await;
    let (id, client, start) = (setup.id, setup.client_context.client, Instant::now());
    let (token, identified) = match identify(&setup).await {
        Ok(known) => known,
        Err((reason, error)) => {
            if reason == CloseReason::AuthenticationFailed {
                let token = setup.token.as_ref().map(|token| token.hash().fingerprint());
                setup
                    .services
                    .backend
                    .get()
                    .limits
                    .record_login_failure(client, token);
            }
            tracing::info!(
                name: "session_rejected",
                session = %id, client.ip = %client, reason = reason.name(), error,
                "session rejected"
            );
            setup.services.metrics.closes.add(reason.name());
            setup.services.metrics.events.add("error");
            reject(&mut socket, reason).await;
            return None;
        }
    };
    let name = identified.user.id();
    tracing::info!(
        name: "session_opened",
        session = %id, client.ip = %client, user = %name, "session opened"
    );
    let session = Box::new(Session::new(socket, setup, token, identified));
    Some(EstablishedSession { session, start })
}

/// A session that has been opened. What its opening took is given back by now:
/// most of a session's life needs far less than its beginning and its end.
pub(in crate::ws) struct EstablishedSession<S> {
    session: Box<Session<S>>,
    start: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> EstablishedSession<S> {
    /// Serves it to its end, and says in a log line how it ended.
    pub(in crate::ws) async fn run(mut self) {
        let reason = self.session.serve().await;
        let session = &self.session;
        session.services.metrics.closes.add(reason.name());
        let (id, client) = (session.id, session.client_context.client);
        let name = session.user.id().clone();
        Box::pin(self.session.end(reason)).await;
        let (reason, duration_seconds) = (reason.name(), self.start.elapsed().as_secs());
        tracing::info!(
            name: "session_closed",
            session = %id, client.ip = %client, user = %name, reason, duration_seconds,
            "session closed"
        );
    }
}

/// Asks Laravel who the client is; an error says why not, and more for the log.
async fn identify(
    setup: &SessionSetup,
) -> Result<(Token, AuthenticatedUser), (CloseReason, String)> {
    let services = &setup.services;
    let Some(token) = setup.token.clone() else {
        return Err((CloseReason::NoToken, String::new()));
    };
    let auth_request = AuthRequest::new(&token, &setup.client_context);
    let ask = |patience| {
        let (backend, auth_request) = (
            services.backend.get(),
            auth_request.clone().with_deadline(patience),
        );
        async move { backend.identity.identify(auth_request).await }
    };
    let answer = tokio::select! {
        answer = retry_while_unavailable(services.backend.get().patience, ask) => answer,
        () = services.drain.token().cancelled() => {
            return Err((CloseReason::Restart, String::new()));
        }
    };
    match answer {
        Ok(identified) => Ok((token, identified)),
        Err(auth::Error::Denied | auth::Error::TokenRefused | auth::Error::OtherUser) => {
            Err((CloseReason::AuthenticationFailed, String::new()))
        }
        Err(auth::Error::Unavailable { reason, .. }) => Err((CloseReason::Unavailable, reason)),
    }
}

/// Tells a client why it is not let in, in the old server's words, and closes.
async fn reject<S>(socket: &mut WebSocketStream<S>, reason: CloseReason)
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
    if let Ok(Ok(())) = tokio::time::timeout(CLOSE_TIMEOUT, telling).await {
        close(socket, reason).await;
    }
}

/// tungstenite's read buffer is allocated eagerly, 128 KiB unless told.
fn websocket_config(settings: &Settings) -> WebSocketConfig {
    let longest = Some(settings.max_message.get());
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(MAX_WRITE_BYTES)
        .max_message_size(longest)
        .max_frame_size(longest)
}

const READ_BUFFER_BYTES: usize = 1024;
