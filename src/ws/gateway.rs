//! From an HTTP request to a session.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::Logout;
use super::backend::CurrentBackend;
use super::handshake::{self, Handshake, HandshakeRejection};
use super::session::{self, SessionSetup};
use super::settings::Settings;
use crate::auth::{ClientContext, Invalidations};
use crate::core::body::{self, Body};
use crate::core::client::ClientIp;
use crate::core::error_chain::error_chain;
use crate::core::ids::SessionIds;
use crate::core::paths::{ExactPath, NormalizedPath};
use crate::metrics::Metrics;
use crate::rooms::{Rooms, Sessions};
use crate::runtime::activity::{ActivityTracker, FloodGuard};
use crate::runtime::drain::Drain;

/// What every session needs of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    /// Whom sessions ask, and where uploads go.
    pub backend: CurrentBackend,
    /// Since when what is known about somebody is in doubt.
    pub invalidations: Invalidations,
    /// Where clients log out.
    pub logout_paths: Arc<[ExactPath]>,
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// All sessions.
    pub sessions: Sessions,
    /// Their ids.
    pub ids: Arc<SessionIds>,
    /// Their tasks.
    pub drain: Drain,
    /// What is counted of them.
    pub metrics: Arc<Metrics>,
    /// Over how long their ends are spread when the process stops.
    pub close_spread: Duration,
}

/// Answers WebSocket upgrades on the configured paths.
#[derive(Debug)]
pub struct Gateway {
    services: Arc<Services>,
    settings: Arc<Settings>,
}

impl Gateway {
    /// A gateway for one configuration; its sessions keep that configuration.
    pub fn new(services: Services, settings: Settings) -> Self {
        Self {
            services: Arc::new(services),
            settings: Arc::new(settings),
        }
    }

    /// Whether `request` is an upgrade on one of our paths; anything else is Laravel's.
    pub fn is_upgrade<B>(&self, request: &Request<B>) -> bool {
        let is_ours = |path: NormalizedPath<'_>| {
            let mut paths = self.settings.paths.iter();
            paths.any(|ours| path.matches(ours.as_str()))
        };
        handshake::wants_upgrade(request.headers())
            && NormalizedPath::parse(request.uri().path()).is_ok_and(is_ours)
    }

    /// The log-out that `request` asks Laravel for, if it is one.
    pub fn logout<B>(&self, request: &Request<B>) -> Option<Box<Logout>> {
        Logout::parse(request, &self.services).map(Box::new)
    }

    /// Answers 101 and starts the session, which keeps `held` until its end.
    ///
    /// # Errors
    /// The handshake is malformed or from a foreign page, or the edge stops.
    pub fn accept(
        &self,
        request: Request<Incoming>,
        client: ClientIp,
        held: impl Send + 'static,
    ) -> Result<Response<Body>, HandshakeRejection> {
        if self.services.drain.is_stopping() {
            return Err(HandshakeRejection::Stopping);
        }
        let handshake = handshake::read(&request, &self.settings)?;
        let response = switching(&handshake);
        let setup = SessionSetup {
            id: self.services.ids.issue(),
            token: handshake.token,
            client_context: ClientContext {
                client,
                host: handshake.host,
            },
            services: Arc::clone(&self.services),
            settings: Arc::clone(&self.settings),
            activity: ActivityTracker::new(),
        };
        let upgrade = hyper::upgrade::on(request);
        let setup = Box::pin(run_session(upgrade, setup));
        self.services.drain.spawn(async move {
            let _held = held;
            if let Some(session) = setup.await {
                session.run().await;
            }
        });
        Ok(response)
    }
}

/// What a session is spoken over.
type Io = FloodGuard<TokioIo<Upgraded>>;

async fn run_session(
    upgrade: OnUpgrade,
    setup: SessionSetup,
) -> Option<session::EstablishedSession<Io>> {
    match upgrade.await {
        Ok(upgraded) => {
            let io = FloodGuard::new(TokioIo::new(upgraded), setup.activity.clone());
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

/// 101 (RFC 6455 §4.2.2).
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
