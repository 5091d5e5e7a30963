//! One question to Laravel, asked so that its middleware takes it for what it is.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

use super::backoff::{Backoff, MAX_OUTAGE};
use super::cache::Verdict;
use super::fair_queue::Owner;
use super::settings::Settings;
use super::{Epoch, Error, RetryDeadline, Token, TokenForm, TokenHash, Urgency};
use crate::core::body::{self, Body};
use crate::core::client::ClientIp;
use crate::core::error_chain::error_chain;
use crate::forwarded;
use crate::metrics::Metrics;
use crate::upstream::Upstream;

/// On whose behalf a question is asked: Laravel throttles by the client's
/// address, and routes by the site's name.
#[derive(Clone, Debug)]
pub struct ClientContext {
    /// The client's address.
    pub client: ClientIp,
    /// The `Host` that the client asked for.
    pub host: HeaderValue,
}

impl ClientContext {
    fn owner(&self, token: TokenHash) -> Owner {
        Owner {
            client: self.client.key(IPV6_PREFIX_BITS),
            token,
        }
    }
}

/// One request to Laravel: with whose token, on whose behalf, and how soon.
#[derive(Clone, Debug)]
pub struct AuthRequest {
    pub(super) token: Token,
    pub(super) secret: TokenHash,
    pub(super) client: ClientContext,
    pub(super) since: Option<Epoch>,
    pub(super) urgency: Urgency,
    pub(super) deadline: Option<RetryDeadline>,
}

impl AuthRequest {
    /// A routine request, whose answer may come from the cache.
    pub fn new(token: &Token, client_context: &ClientContext) -> Self {
        Self {
            token: token.clone(),
            secret: token.hash(),
            client: client_context.clone(),
            since: None,
            urgency: Urgency::Routine,
            deadline: None,
        }
    }

    /// Wants the answer of `since` or later.
    #[must_use]
    pub fn since(self, since: impl Into<Option<Epoch>>) -> Self {
        Self {
            since: since.into(),
            ..self
        }
    }

    /// Goes first, and also while Laravel throttles the user.
    #[must_use]
    pub fn urgent(self) -> Self {
        Self {
            urgency: Urgency::Urgent,
            ..self
        }
    }

    /// Starts that clock when the request has its place.
    #[must_use]
    pub fn with_deadline(self, patience: RetryDeadline) -> Self {
        Self {
            deadline: Some(patience),
            ..self
        }
    }

    pub(super) fn owner(&self) -> Owner {
        self.client.owner(self.secret)
    }
}

/// Asks Laravel. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuthClient {
    upstream: Upstream,
    timeout: Duration,
    token_form: TokenForm,
    metrics: Arc<Metrics>,
    backoff: Arc<Backoff>,
}

/// What Laravel answered.
#[derive(Debug)]
pub(super) struct AuthResponse {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl AuthClient {
    /// Asks `upstream` as `settings` say, and counts the answers.
    pub fn new(upstream: Upstream, settings: &Settings, metrics: Arc<Metrics>) -> Self {
        Self {
            upstream,
            timeout: settings.timeout.get(),
            token_form: settings.token_form,
            metrics,
            backoff: Arc::new(Backoff::new()),
        }
    }

    /// Whether Laravel has granted anybody anything after `moment`: if so, an answer
    /// that it does not give is no outage.
    pub fn has_granted_since(&self, moment: Instant) -> bool {
        self.backoff.has_granted_since(moment)
    }

    /// Counts a verdict by the name for a yes, a no, or neither; a yes or a no ends
    /// the token's wait that Laravel's `Retry-After` began.
    pub(super) fn count_verdict<V>(
        &self,
        auth_request: &AuthRequest,
        verdict: &Result<Verdict<V>, Error>,
        [yes, no, neither]: [&'static str; 3],
    ) {
        self.metrics.questions.add(match verdict {
            Ok(Verdict {
                answer: Some(_), ..
            }) => {
                self.backoff.granted(&auth_request.secret);
                yes
            }
            Ok(_) | Err(Error::Denied | Error::TokenRefused | Error::OtherUser) => {
                self.backoff.denied(&auth_request.secret);
                no
            }
            Err(Error::Unavailable { .. }) => neither,
        });
    }

    /// Asks `GET path` and reads the answer. Redirects are never followed, here and in
    /// [`AuthClient::fetch_status`].
    pub(super) async fn fetch(
        &self,
        path: PathAndQuery,
        auth_request: &AuthRequest,
    ) -> Result<AuthResponse, Error> {
        let reading = async {
            let answer = self.send(Method::GET, path, auth_request).await?;
            let status = answer.status();
            let body = body::read_limited(answer.into_body(), MAX_RESPONSE_BYTES).await;
            let body = body
                .map_err(|_| unavailable("Laravel's answer broke off or is too long".to_owned()))?;
            Ok(AuthResponse { status, body })
        };
        self.with_timeout(reading).await
    }

    /// Asks `method path`, only for the status.
    pub(super) async fn fetch_status(
        &self,
        method: Method,
        path: PathAndQuery,
        auth_request: &AuthRequest,
    ) -> Result<StatusCode, Error> {
        let answer = self
            .with_timeout(self.send(method, path, auth_request))
            .await?;
        Ok(answer.status())
    }

    async fn with_timeout<T>(
        &self,
        asking: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(unavailable("Laravel did not answer in time".to_owned())),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: PathAndQuery,
        auth_request: &AuthRequest,
    ) -> Result<Response<Body>, Error> {
        if auth_request.urgency == Urgency::Routine {
            self.check_backoff(auth_request)?;
        }
        let mut request = Request::new(body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.into();
        *request.headers_mut() =
            request_headers(&auth_request.token, self.token_form, &auth_request.client);
        let mark = HeaderValue::from_static("authorization");
        request.headers_mut().insert(forwarded::EDGE_REQUEST, mark);
        let answer = self.upstream.send(Box::new(request)).await;
        let answer = answer.map_err(|error| unavailable(error_chain(&error)))?;
        let status = answer.status();
        let is_throttled = status == StatusCode::TOO_MANY_REQUESTS;
        if !is_throttled && !status.is_server_error() {
            return Ok(answer);
        }
        let retry_after = retry_after(answer.headers());
        if let Some(wait) = retry_after {
            if is_throttled {
                self.backoff.throttle(auth_request.secret, wait);
            } else {
                self.backoff.outage(auth_request.secret, wait);
            }
        }
        Err(Error::Unavailable {
            reason: format!("Laravel answered {}", status.as_u16()),
            retry_after: retry_after.map(|wait| {
                if is_throttled {
                    wait
                } else {
                    wait.min(MAX_OUTAGE)
                }
            }),
            is_throttled,
        })
    }

    /// While Laravel's `Retry-After` for a token runs, it is not asked with it.
    fn check_backoff(&self, auth_request: &AuthRequest) -> Result<(), Error> {
        let wait = self.backoff.check(&auth_request.secret);
        wait.map_err(|wait| Error::Unavailable {
            reason: "Laravel asked to be asked later".to_owned(),
            retry_after: Some(wait.left),
            is_throttled: wait.is_throttled,
        })
    }
}

pub(super) fn unavailable(reason: String) -> Error {
    Error::Unavailable {
        reason,
        retry_after: None,
        is_throttled: false,
    }
}

/// The headers of a request on a user's behalf.
///
/// Apps that scan requests for attacks, such as the one in front of which the edge was
/// made, take `|` followed by certain letters for one, and log the request with the
/// token in it. Behind nginx PHP sees the headers in reverse order, so no order is safe:
/// with [`TokenForm::Secret`] there is no `|`. The agent's name has more than ten
/// characters and no parentheses for the same reason.
pub fn request_headers(
    token: &Token,
    form: TokenForm,
    client_context: &ClientContext,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(HOST, client_context.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    forwarded::write_headers(&mut headers, client_context.client);
    headers.insert(AUTHORIZATION, token.authorization(form));
    headers
}

/// `Retry-After` as seconds or as a date (RFC 9110 §10.2.3), an hour at most.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
const USER_AGENT_VALUE: &str = concat!("pwd-edge/", env!("CARGO_PKG_VERSION"));
/// Who counts as one client in the queue to Laravel.
const IPV6_PREFIX_BITS: u32 = 56;
/// A user is far shorter.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
