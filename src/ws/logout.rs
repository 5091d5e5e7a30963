//! Logout: passes the request on to Laravel, and closes the token's sessions once Laravel
//! confirms it.

use hyper::{Method, Request, Response, StatusCode};

use super::services::Services;
use crate::auth::{CredentialHash, Token};
use crate::core::body::Body;
use crate::core::request_path::{ExactPath, NormalizedPath};
use crate::upstream::{self, Upstream};

/// A logout request on its way to Laravel.
#[derive(Debug)]
pub(crate) struct Logout {
    secret: CredentialHash,
    services: Services,
}

impl Logout {
    /// Returns the logout that `request` is: a `POST` with a token to a logout path.
    pub(super) fn parse<B>(request: &Request<B>, services: &Services) -> Option<Self> {
        if request.method() != Method::POST {
            return None;
        }
        let path = NormalizedPath::parse(request.uri().path()).ok()?;
        let is_match = |logout_path: &ExactPath| path.matches(logout_path.as_str());
        if !services.logout_paths.iter().any(is_match) {
            return None;
        }
        Some(Self {
            secret: Token::hash_from_headers(request.headers())?,
            services: services.clone(),
        })
    }

    /// Sends the request to Laravel, acts on the status and returns the response. It runs in a
    /// task of its own and completes even if the caller is dropped: browsers leave the page at
    /// once.
    ///
    /// # Errors
    /// As [`Upstream::send`].
    ///
    /// # Panics
    /// If that task panics.
    pub(crate) async fn send(
        self,
        upstream: Upstream,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, upstream::Error> {
        let drain = self.services.drain.clone();
        let sending = drain.spawn(async move {
            let response = upstream.send(request).await;
            self.apply_status(response.as_ref().ok().map(Response::status));
            response
        });
        match sending.await {
            Ok(response) => response,
            Err(join_error) => match join_error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Cancelled: the runtime is shutting down, and drops this future, too.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Closes the token's sessions if Laravel confirms the logout; revalidates them if the
    /// outcome is unknown.
    fn apply_status(self, status: Option<StatusCode>) {
        let (sessions, secret) = (&self.services.sessions, self.secret);
        match status {
            Some(status) if status.is_success() => {
                self.services.backend.get().identity.forget(&secret);
                let closed = sessions.revoke(&secret);
                tracing::debug!(name: "logout", sessions = closed, "sessions closed by logout");
            }
            Some(status) if status.is_client_error() => {}
            // Laravel may have deleted the token nevertheless.
            _ => {
                self.services.invalidations.invalidate_token(secret);
                sessions.revalidate_token(&secret);
            }
        }
    }
}
