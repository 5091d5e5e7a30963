//! The stage that takes WebSocket upgrades: limits handshakes and sessions, then hands the
//! request to the gateway.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, Response};

use super::request_context::RequestContext;
use super::routes::{Action, Route};
use crate::core::body::Body;
use crate::core::client_ip::ClientIp;
use crate::http::{Rejection, RequestBody};
use crate::limit::{
    ClientConcurrency, ClientPermit, Limit, LimitExceeded, Limits, OverloadMonitor,
};
use crate::ws::Gateway;

/// Accepts WebSocket upgrades.
#[derive(Debug)]
pub(super) struct WebSocket {
    pub(super) gateway: Gateway,
    pub(super) limits: Arc<Limits>,
    /// The sessions of each client.
    pub(super) sessions: ClientConcurrency,
    pub(super) load: OverloadMonitor,
}

impl WebSocket {
    /// Returns whether the gateway takes `request`: it is a WebSocket upgrade, and its
    /// route neither rejects nor redirects it, nor tunnels upgrades to the application.
    pub(super) fn is_upgrade<B>(&self, route: &Route, request: &Request<B>) -> bool {
        let has_content = matches!(route.action, Action::Upstream(_) | Action::Files(..));
        has_content && route.upgrade_protocols.is_empty() && self.gateway.is_upgrade(request)
    }

    /// Returns the 101 response to `request`, and starts its session.
    ///
    /// # Errors
    /// Returns `Over` if the client is over a limit, `Full` if the edge is overloaded, and
    /// `WebSocket` for a handshake that fails.
    pub(super) fn accept(
        &self,
        context: &RequestContext<'_>,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Rejection> {
        let client = context.client();
        let session_permit = self.admit_session(client).map_err(Rejection::Over)?;
        if self.load.is_full() {
            return Err(Rejection::Full);
        }
        let permits = (Arc::clone(&context.downstream.permit), session_permit);
        let accepted = self.gateway.accept(request, client, permits);
        accepted.map_err(Rejection::WebSocket)
    }

    /// Returns a permit for one session of `client`; `None` if the client is exempt.
    fn admit_session(&self, client: ClientIp) -> Result<Option<ClientPermit>, LimitExceeded> {
        self.limits.check_upgrade(client)?;
        let keys = self.limits.keys(client);
        let most = self.limits.settings().max_sessions_per_client;
        let over = LimitExceeded::new(Limit::MaxSessionsPerClient, RETRY_AFTER);
        self.limits
            .acquire_share(client, keys, over, |keys| self.sessions.acquire(keys, most))
    }
}

/// The time after which one of the client's sessions may have ended.
const RETRY_AFTER: Duration = Duration::from_secs(30);
