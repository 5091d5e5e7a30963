//! The start of a session: Laravel identifies the user by the credential, and the session is
//! established or rejected.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::protocol::{self, Event};
use super::super::services::Services;
use super::super::{CloseReason, Settings};
use super::Session;
use super::io::{CLOSE_TIMEOUT, close, websocket_config};
use crate::auth::{
    self, AgentHash, AuthRequest, AuthenticatedUser, ClientContext, Credential,
    retry_while_unavailable,
};
use crate::rooms::{PublicationEncoder, Registration, SharedStream, Since, Wire};
use crate::runtime::activity::ActivityTracker;

/// The parts of a session that are known before the user is.
#[derive(Debug)]
pub(in crate::ws) struct SessionSetup {
    pub(in crate::ws) credential: Option<Credential>,
    /// The client's last position in the user's own channel, if it returns.
    pub(in crate::ws) since: Option<Since>,
    pub(in crate::ws) client_context: ClientContext,
    pub(in crate::ws) services: Arc<Services>,
    pub(in crate::ws) settings: Arc<Settings>,
    /// The client, as far as its handshake shows it.
    pub(in crate::ws) agent: AgentHash,
    /// Records each message. Too many bytes of other frames are a control flood.
    pub(in crate::ws) activity: ActivityTracker,
}

/// Identifies the user and returns their session. Otherwise tells the client why not, closes
/// the socket and returns none. Logs either outcome.
pub(in crate::ws) async fn set_up<S>(
    stream: S,
    setup: SessionSetup,
) -> Option<EstablishedSession<S>>
where
    S: AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static,
{
    let services = &setup.services;
    // Laravel changes a session cookie with each response, so no later session has the same.
    let has_cookie = setup.credential.as_ref().is_some_and(Credential::is_cookie);
    let receipts = services
        .rooms
        .new_receipts(setup.client_context.session)
        .filter(|_| !has_cookie);
    let shared_stream = SharedStream::new(stream, &ENCODER, services.metrics.delivery(), receipts);
    let config = Some(websocket_config(&setup.settings));
    let mut socket = WebSocketStream::from_raw_socket(shared_stream, Role::Server, config).await;
    let (id, client) = (setup.client_context.session, setup.client_context.client);
    let start = Instant::now();
    let (credential, identified) = match identify(&setup).await {
        Ok(identified) => identified,
        Err((reason, error)) => {
            if reason == CloseReason::AuthenticationFailed {
                let credential = setup.credential.as_ref().map(Credential::hash);
                if let Some(credential) = &credential {
                    setup.services.sessions.drop_parked(credential);
                }
                let fingerprint = credential.map(|credential| credential.fingerprint());
                setup
                    .services
                    .backend
                    .get()
                    .limits
                    .record_rejected_token(client, fingerprint);
            }
            tracing::info!(
                name: "session_rejected",
                session = %id, client.ip = %client, reason = reason.name(), error,
                "session rejected"
            );
            setup.services.metrics.count_close(reason);
            setup.services.metrics.count_event("error");
            reject(&mut socket, reason).await;
            return None;
        }
    };
    let name = identified.user.id();
    tracing::info!(
        name: "session_opened",
        session = %id, client.ip = %client, user = %name, "session opened"
    );
    let (agent, since) = (setup.agent, setup.since.map(Box::new));
    let mut session = Box::new(Session::new(socket, setup, credential, identified));
    let registration = Some(session.register(agent));
    Some(EstablishedSession {
        session,
        registration,
        since,
        start,
    })
}

/// A session whose user is known. It is boxed apart from the future that set it up, whose
/// memory is freed by then: an idle session needs far less than its start and its end.
pub(in crate::ws) struct EstablishedSession<S> {
    session: Box<Session<S>>,
    /// None once it ends.
    registration: Option<Registration>,
    /// Boxed: it is needed only once.
    since: Option<Box<Since>>,
    start: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> EstablishedSession<S> {
    /// Serves the client until the session ends, and logs why it ended.
    pub(in crate::ws) async fn run(mut self) {
        let reason = self.session.serve(self.since.take()).await;
        drop(self.registration.take());
        let session = &self.session;
        session.services.metrics.count_close(reason);
        let (id, client) = (session.id(), session.client_context.client);
        let name = session.user.id().clone();
        Box::pin(self.session.end(reason)).await;
        let hint = reason.hint();
        let (reason, duration_seconds) = (reason.name(), self.start.elapsed().as_secs());
        tracing::info!(
            name: "session_closed",
            session = %id, client.ip = %client, user = %name, reason, duration_seconds, hint,
            "session closed"
        );
    }
}

/// Asks Laravel for the user of the credential.
///
/// # Errors
/// The close reason (`NoToken`, `AuthenticationFailed`, `Unavailable`, or `Restart` if the
/// edge stops), and a cause for the log, which may be empty.
async fn identify(
    setup: &SessionSetup,
) -> Result<(Credential, AuthenticatedUser), (CloseReason, String)> {
    let services = &setup.services;
    let Some(credential) = setup.credential.clone() else {
        return Err((CloseReason::NoToken, String::new()));
    };
    let auth_request = AuthRequest::new(&credential, &setup.client_context);
    let ask = |deadline| {
        let (backend, auth_request) = (
            services.backend.get(),
            auth_request.clone().with_deadline(deadline),
        );
        async move { backend.identity.identify(auth_request).await }
    };
    let result = tokio::select! {
        result = retry_while_unavailable(services.backend.get().retry_timeout, ask) => result,
        () = services.drain.token().cancelled() => {
            return Err((CloseReason::Restart, String::new()));
        }
    };
    match result {
        Ok(identified) => Ok((credential, identified)),
        Err(auth::Error::Denied | auth::Error::TokenRejected | auth::Error::OtherUser) => {
            Err((CloseReason::AuthenticationFailed, String::new()))
        }
        Err(auth::Error::Unavailable { reason, .. }) => Err((CloseReason::Unavailable, reason)),
    }
}

/// Sends the client an `error` event, in the old server's words, and closes the socket.
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
        room: None,
        upload_id: None,
    };
    let sending = socket.send(Message::Text(event.text()));
    if let Ok(Ok(())) = tokio::time::timeout(CLOSE_TIMEOUT, sending).await {
        close(socket, reason, reason.frame()).await;
    }
}

/// The way in which publications reach the client.
static ENCODER: PublicationEncoder = PublicationEncoder {
    wire: Wire::Desk,
    frame: protocol::frame,
    ping: protocol::ping,
};
