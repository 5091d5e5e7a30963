//! The way from an HTTP upgrade request to a session: recognises upgrades, rejects or accepts
//! them, and spawns the session's task.

use std::future::Future;
use std::sync::Arc;

use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::close::CloseReason;
use super::frame_guard::FrameGuard;
use super::handshake::{self, Handshake, HandshakeRejection};
use super::logout::Logout;
use super::pusher;
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
    pusher: Arc<pusher::Settings>,
}

impl Gateway {
    /// Creates a gateway for one configuration. Its sessions keep the settings to their end.
    pub(crate) fn new(services: Services, settings: Settings, pusher: pusher::Settings) -> Self {
        Self {
            services: Arc::new(services),
            settings: Arc::new(settings),
            pusher: Arc::new(pusher),
        }
    }

    /// Returns whether `request` is an upgrade on a configured path. All others go upstream.
    pub(crate) fn is_upgrade<B>(&self, request: &Request<B>) -> bool {
        let is_configured = |path: NormalizedPath<'_>| {
            let mut paths = self.settings.paths.iter();
            paths.any(|configured| path.matches(configured.as_str()))
                || pusher::find_key(&path, &self.pusher).is_some()
        };
        handshake::is_websocket_upgrade(request.headers())
            && NormalizedPath::parse(request.uri().path()).is_ok_and(is_configured)
    }

    /// Returns the logout that `request` of `client` is, if it is one.
    pub(crate) fn logout<B>(&self, request: &Request<B>, client: ClientIp) -> Option<Box<Logout>> {
        Logout::parse(request, client, &self.services, &self.settings).map(Box::new)
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
        let checked = pusher::check(request.uri(), &self.pusher);
        // Laravel signs what a Pusher client may join; its cookies admit it to nothing.
        let session_cookies = match checked {
            None => &*self.services.session_cookies,
            Some(_) => &[],
        };
        let handshake = handshake::read(&request, &self.settings, session_cookies)?;
        let response = switching(&handshake);
        let agent = AgentHash::from_headers(request.headers());
        let upgrade = hyper::upgrade::on(request);
        match checked {
            None => {
                let setup = self.session_setup(handshake, agent, client);
                let stream = self.open_stream(upgrade, client, setup.activity.clone());
                self.spawn(permits, async move {
                    let session = session::set_up(stream.await?, setup).await?;
                    Some(session.run())
                });
            }
            Some(checked) => {
                let setup = self.pusher_setup(checked, client);
                let stream = self.open_stream(upgrade, client, setup.activity.clone());
                self.spawn(permits, async move {
                    let session = pusher::set_up(stream.await?, setup).await?;
                    Some(session.run())
                });
            }
        }
        Ok(response)
    }

    fn session_setup(
        &self,
        handshake: Handshake,
        agent: AgentHash,
        client: ClientIp,
    ) -> SessionSetup {
        SessionSetup {
            credential: handshake.credential,
            since: handshake.since,
            client_context: ClientContext {
                client,
                host: handshake.host,
                session: self.services.ids.issue(),
            },
            services: Arc::clone(&self.services),
            settings: Arc::clone(&self.settings),
            agent,
            activity: ActivityTracker::new(),
        }
    }

    fn pusher_setup(
        &self,
        checked: Result<(), CloseReason>,
        client: ClientIp,
    ) -> pusher::SessionSetup {
        pusher::SessionSetup {
            id: self.services.ids.issue(),
            client,
            checked,
            services: Arc::clone(&self.services),
            settings: Arc::clone(&self.settings),
            pusher: Arc::clone(&self.pusher),
            activity: ActivityTracker::new(),
        }
    }

    /// Spawns the task of a session, which keeps `permits` to its end. `set_up` returns the
    /// future that serves the client, unless the client is gone or is rejected.
    fn spawn<F: Future<Output = ()> + Send>(
        &self,
        permits: impl Send + 'static,
        set_up: impl Future<Output = Option<F>> + Send + 'static,
    ) {
        // Boxed: the task keeps the memory of the setup no longer than it takes.
        let set_up = Box::pin(set_up);
        self.services.drain.spawn(async move {
            let _permits = permits;
            if let Some(session) = set_up.await {
                session.await;
            }
        });
    }

    /// Returns the stream of a session once the upgrade is complete; none if the client is gone.
    fn open_stream(
        &self,
        upgrade: OnUpgrade,
        client: ClientIp,
        activity: ActivityTracker,
    ) -> impl Future<Output = Option<Io>> + use<> {
        let max_message_size = self.settings.max_message_size.get();
        async move {
            match upgrade.await {
                Ok(upgraded) => {
                    let io = FloodGuard::new(TokioIo::new(upgraded), activity);
                    Some(FrameGuard::new(io, max_message_size))
                }
                Err(error) => {
                    tracing::debug!(
                        name: "websocket_upgrade_aborted",
                        { client.ip = %client, error = error_chain(&error) },
                        "WebSocket upgrade aborted"
                    );
                    None
                }
            }
        }
    }
}

/// The stream of a session.
type Io = FrameGuard<FloodGuard<TokioIo<Upgraded>>>;

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
