//! Logout: passes the request on to Laravel, then closes the token's sessions once Laravel
//! confirms it, and revalidates those of the session cookie's user
//! (`docs/decisions/0027-session-cookies.md`).

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};

use super::handshake;
use super::services::Services;
use super::settings::Settings;
use crate::auth::{self, AuthRequest, ClientContext, Credential, CredentialHash};
use crate::auth::{SessionCookie, Token};
use crate::core::body::Body;
use crate::core::client_ip::ClientIp;
use crate::core::header_values::single_value;
use crate::core::ids::UserId;
use crate::core::request_path::{ExactPath, NormalizedPath};
use crate::upstream::{self, Upstream};

/// A logout request on its way to Laravel.
#[derive(Debug)]
pub(crate) struct Logout {
    /// The token of the request.
    token: Option<CredentialHash>,
    /// The question whose session the request's cookie belongs to.
    cookie: Option<AuthRequest>,
    client: ClientIp,
    services: Services,
}

impl Logout {
    /// Returns the logout that `request` is: a `POST` with a token or a session cookie to a
    /// logout path.
    pub(super) fn parse<B>(
        request: &Request<B>,
        client: ClientIp,
        services: &Services,
        settings: &Settings,
    ) -> Option<Self> {
        if request.method() != Method::POST {
            return None;
        }
        let path = NormalizedPath::parse(request.uri().path()).ok()?;
        let is_match = |logout_path: &ExactPath| path.matches(logout_path.as_str());
        if !services.logout_paths.iter().any(is_match) {
            return None;
        }
        let token = Token::hash_from_headers(request.headers());
        let cookie = cookie_question(request.headers(), client, services, settings);
        (token.is_some() || cookie.is_some()).then(|| Self {
            token,
            cookie,
            client,
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
            let user = self.identify_user().await;
            let response = upstream.send(request).await;
            let status = response.as_ref().ok().map(Response::status);
            if let Some(token) = self.token {
                self.end_token(token, status);
            }
            self.end_cookie(user, status);
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

    /// Asks Laravel for the user of the session cookie, before the logout ends the session.
    /// The cookie itself finds no open session: Laravel changes its value with each response.
    /// None if there is no cookie, or Laravel names no user. A cookie that Laravel rejects counts
    /// as a rejected token, and no request is sent for a client with too many of them.
    async fn identify_user(&self) -> Option<UserId> {
        let question = self.cookie.clone()?;
        let cookie = question.credential_hash();
        let backend = self.services.backend.get();
        backend.limits.check_rejected_tokens(self.client).ok()?;
        let identifying = backend.identity.identify(question);
        match tokio::time::timeout(IDENTIFY_TIMEOUT, identifying).await {
            Ok(Ok(identified)) => Some(identified.user.id().clone()),
            Ok(Err(auth::Error::Unavailable { .. })) | Err(_) => None,
            Ok(Err(_)) => {
                let fingerprint = Some(cookie.fingerprint());
                backend
                    .limits
                    .record_rejected_token(self.client, fingerprint);
                None
            }
        }
    }

    /// Closes the token's sessions if Laravel confirms the logout; revalidates them if the
    /// outcome is unknown.
    fn end_token(&self, token: CredentialHash, status: Option<StatusCode>) {
        let sessions = &self.services.sessions;
        match status {
            Some(status) if status.is_success() => {
                self.services.backend.get().identity.forget(&token);
                let closed = sessions.revoke(&token);
                tracing::debug!(name: "logout", sessions = closed, "sessions closed by logout");
            }
            Some(status) if status.is_client_error() => {}
            // Laravel may have deleted the token nevertheless.
            _ => {
                self.services.invalidations.invalidate_token(token);
                sessions.revalidate_token(&token);
            }
        }
    }

    /// Revalidates the sessions of `user` unless Laravel has rejected the logout. So Laravel
    /// decides which of them it has ended: the user may be logged in in another browser, and a
    /// redirect may lead to the login page.
    ///
    /// If Laravel did not name the user but accepts the logout, the periodic revalidation of
    /// the sessions that cookies of the same client have opened is due early. It invalidates
    /// nothing: anybody can send such a logout, and must not end the sessions of others behind
    /// their address while Laravel confirms nothing.
    fn end_cookie(&self, user: Option<UserId>, status: Option<StatusCode>) {
        if self.cookie.is_none() {
            return;
        }
        let Services {
            sessions,
            invalidations,
            ..
        } = &self.services;
        let is_accepted = status.is_some_and(|status| !status.is_server_error());
        let revalidated = match user {
            _ if status.is_some_and(is_rejection) => return,
            Some(user) => {
                invalidations.invalidate_user(&user);
                sessions.revalidate_user(&user)
            }
            None if is_accepted => sessions.revalidate_cookies_of(self.client),
            None => return,
        };
        tracing::debug!(
            name: "logout_by_cookie",
            sessions = revalidated,
            "sessions revalidated after logout"
        );
    }
}

/// Returns the question whose session the cookie of a logout belongs to, if it has one.
fn cookie_question(
    headers: &HeaderMap,
    client: ClientIp,
    services: &Services,
    settings: &Settings,
) -> Option<AuthRequest> {
    let host = headers.get(HOST)?;
    // Sanctum takes the cookie for none from another origin, such as `null` by the page's
    // `Referrer-Policy`. Laravel logs out nevertheless. Old browsers name no origin at all.
    let own = || HeaderValue::try_from(format!("https://{}", host.to_str().ok()?)).ok();
    let origin = single_value(headers, &ORIGIN)
        .filter(|origin| handshake::may_use_cookies(origin, host, settings))
        .cloned()
        .or_else(own)?;
    let cookie = SessionCookie::from_headers(headers, &services.session_cookies, &origin)?;
    let client_context = ClientContext {
        client,
        host: host.clone(),
        // The request is no session's, and asks about no channel.
        session: services.ids.issue(),
    };
    let credential = Credential::Cookie(Arc::new(cookie));
    Some(AuthRequest::new(&credential, &client_context).urgent())
}

/// Returns whether a logout with this status has had no effect. An Inertia application sends
/// the browser to another page with 409.
fn is_rejection(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::CONFLICT
}

/// The time for which a logout waits until Laravel has named the user.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(2);
