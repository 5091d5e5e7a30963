//! Logging out: when Laravel has forgotten a token, so must its sessions.

use hyper::Method;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use super::gateway::Services;
use crate::auth::Token;
use crate::units::UrlPath;

/// A log-out on its way to Laravel.
#[derive(Debug)]
pub struct LogOut {
    token: Token,
    services: Services,
}

impl LogOut {
    /// The log-out that `request` asks for, if it is one.
    pub(super) fn read(request: &Parts, services: &Services) -> Option<Self> {
        let path = request.uri.path().trim_end_matches('/');
        let is_path = |ours: &UrlPath| ours.as_str() == path;
        if request.method != Method::POST || !services.logout_paths.iter().any(is_path) {
            return None;
        }
        let bearer = request.headers.get(AUTHORIZATION)?.to_str().ok()?;
        Some(Self {
            token: Token::new(bearer.strip_prefix("Bearer ")?.trim())?,
            services: services.clone(),
        })
    }

    /// Laravel agreed: the token is forgotten and its sessions are closed.
    pub fn confirm(self) {
        let token = self.token.hash();
        self.services.identity.forget(&token);
        let sessions = self.services.sessions.revoke(&token);
        if sessions > 0 {
            tracing::info!(sessions, "logged out, sessions closed");
        }
    }
}
