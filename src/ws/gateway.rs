//! The way from an HTTP upgrade request to a session: recognises upgrades, rejects or accepts
//! them, and spawns the session's task.

use std::sync::Arc;

use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::frame_guard::FrameGuard;
use super::handshake::{self, Handshake, HandshakeRejection};
use super::logout::Logout;
use super::services::Services;
use super::session::{self, SessionSetup};
use super::settings::Settings;
use crate::auth::{AgentHash, ClientContext};
use crate::core::body::{self, Body};
use crate::core::client_ip::ClientIp;
use crate::core::error_chain::error_chain;
use crate::core::request_path::NormalizedPath;
use crate::runtime::activity::{ActivityTracker, FloodGuard};

/// Accepts WebSocket upgrades on the configured paths. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    services: Arc<Services>,
    settings: Arc<Settings>,
}

impl Gateway {
    /// Creates a gateway for one configuration. Its sessions keep `settings` to their end.
    pub(crate) fn new(services: Services, settings: Settings) -> Self {
        Self {
            services: Arc::new(services),
            settings: Arc::new(settings),
        }
    }

    /// Returns whether `request` is an upgrade on a configured path. All others go upstream.
    pub(crate) fn is_upgrade<B>(&self, request: &Request<B>) -> bool {
        let is_configured = |path: NormalizedPath<'_>| {
            let mut paths = self.settings.paths.iter();
            paths.any(|configured| path.matches(configured.as_str()))
        };
        handshake::is_websocket_upgrade(request.headers())
            && NormalizedPath::parse(request.uri().path()).is_ok_and(is_configured)
    }

    /// Returns the logout that `request` of `client` is, if it is one.
    pub(crate) fn logout<B>(&self, request: &Request<B>, client: ClientIp) -> Option<Box<Logout>> {
        Logout::parse(request, client, &self.services).map(Box::new)
    }

    /// Returns the 101 response and spawns the session's task, which keeps `permits` to its
    /// end.
    ///
    /// # Errors
    /// `Malformed` or `Version` if the handshake is invalid, `Origin` or `CookieOrigin` if a page
    /// of another site sent it, `Stopping` if the edge stops.
    pub(crate) fn accept<B: hyper::body::Body>(
        &self,
        request: Request<B>,
        client: ClientIp,
        permits: impl Send + 'static,
    ) -> Result<Response<Body>, HandshakeRejection> {
        if self.services.drain.is_stopping() {
            return Err(HandshakeRejection::Stopping);
        }
        let handshake = handshake::read(&request, &self.settings, &self.services.session_cookies)?;
        let response = switching(&handshake);
        let setup = SessionSetup {
            credential: handshake.credential,
            since: handshake.since,
            client_context: ClientContext {
                client,
                host: handshake.host,
                session: self.services.ids.issue(),
            },
            services: Arc::clone(&self.services),
            settings: Arc::clone(&self.settings),
            agent: AgentHash::from_headers(request.headers()),
            activity: ActivityTracker::new(),
        };
        let upgrade = hyper::upgrade::on(request);
        // Boxed: the task keeps the memory of the setup no longer than it takes.
        let set_up = Box::pin(set_up_session(upgrade, setup));
        self.services.drain.spawn(async move {
            let _permits = permits;
            if let Some(session) = set_up.await {
                session.run().await;
            }
        });
        Ok(response)
    }
}

/// The stream of a session.
type Io = FrameGuard<FloodGuard<TokioIo<Upgraded>>>;

/// Waits for the upgrade and sets up the session. Returns none if the client is gone or is
/// rejected.
async fn set_up_session(
    upgrade: OnUpgrade,
    setup: SessionSetup,
) -> Option<session::EstablishedSession<Io>> {
    match upgrade.await {
        Ok(upgraded) => {
            let io = FloodGuard::new(TokioIo::new(upgraded), setup.activity.clone());
            let io = FrameGuard::new(io, setup.settings.max_message_size.get());
            session::set_up(io, setup).await
        }
        Err(error) => {
            let client = setup.client_context.client;
            tracing::debug!(
                name: "websocket_upgrade_aborted",
                { client.ip = %client, error = error_chain(&error) },
                "WebSocket upgrade aborted"
            );
            None
        }
    }
}

/// Returns the 101 response to `handshake` (RFC 6455 §4.2.2).
fn switching(handshake: &Handshake) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::try_from(&handshake.accept_key).expect("base64 is visible ASCII");
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if handshake.subprotocol {
        let bearer = HeaderValue::from_static("bearer");
        headers.insert(SEC_WEBSOCKET_PROTOCOL, bearer);
    }
    response
}
