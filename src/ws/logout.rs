//! Logging out: when Laravel has forgotten a token, so must its sessions.

use hyper::{Method, Request, Response, StatusCode};

use super::gateway::Services;
use crate::auth::TokenHash;
use crate::core::body::Body;
use crate::core::paths::{ExactPath, NormalizedPath};
use crate::upstream::{self, Upstream};

/// A log-out on its way to Laravel.
#[derive(Debug)]
pub struct Logout {
    secret: TokenHash,
    services: Services,
}

impl Logout {
    /// The log-out that `request` asks for, if it is one.
    pub(super) fn parse<B>(request: &Request<B>, services: &Services) -> Option<Self> {
        if request.method() != Method::POST {
            return None;
        }
        let path = NormalizedPath::parse(request.uri().path()).ok()?;
        let is_path = |ours: &ExactPath| path.matches(ours.as_str());
        if !services.logout_paths.iter().any(is_path) {
            return None;
        }
        Some(Self {
            secret: TokenHash::from_headers(request.headers())?,
            services: services.clone(),
        })
    }

    /// Sends the request to Laravel and does what its answer means. This runs
    /// to its end even if the client does not wait for it: browsers leave the
    /// page at once.
    ///
    /// # Errors
    /// As [`Upstream::send`].
    pub async fn send(
        self,
        upstream: Upstream,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, upstream::Error> {
        let drain = self.services.drain.clone();
        let sending = drain.spawn(async move {
            let answer = upstream.send(request).await;
            self.apply_status(answer.as_ref().ok().map(Response::status));
            answer
        });
        match sending.await {
            Ok(answer) => answer,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn apply_status(self, status: Option<StatusCode>) {
        let (sessions, secret) = (&self.services.sessions, self.secret);
        match status {
            Some(status) if status.is_success() => {
                self.services.backend.get().identity.forget(&secret);
                let closed = sessions.revoke(&secret);
                tracing::debug!(name: "logout", sessions = closed, "sessions closed by logout");
            }
            Some(status) if status.is_client_error() => {}
            // It may have been done all the same.
            _ => {
                self.services.invalidations.invalidate_token(secret);
                sessions.revalidate_token(&secret);
            }
        }
    }
}
