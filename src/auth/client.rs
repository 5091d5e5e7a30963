//! The edge's own requests to Laravel. They carry the client's credential, host and address, so
//! that Laravel's middleware authenticates, routes and throttles them as the client's.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, MAX_OUTAGE};
use super::cache::Verdict;
use super::settings::Settings;
use super::{AuthRequest, ClientContext, Credential, Error, Metrics, TokenForm, Urgency};
use crate::core::body::{self, Body};
use crate::core::error_chain::error_chain;
use crate::forwarded;
use crate::upstream::Upstream;

/// Sends the edge's own requests to Laravel. Cheap to clone; clones share the backoff.
#[derive(Clone, Debug)]
pub(crate) struct AuthClient {
    upstream: Upstream,
    timeout: Duration,
    token_form: TokenForm,
    metrics: Arc<Metrics>,
    backoff: Arc<Backoff>,
}

/// A question to Laravel.
#[derive(Debug)]
pub(super) struct Query {
    method: Method,
    path: PathAndQuery,
    /// The body, if there is one.
    form: Option<String>,
}

impl Query {
    /// Creates a question without a body.
    pub(super) fn new(method: Method, path: PathAndQuery) -> Self {
        Self {
            method,
            path,
            form: None,
        }
    }

    /// Creates a `POST` of `form`, which is URL-encoded.
    pub(super) fn post(path: PathAndQuery, form: String) -> Self {
        Self {
            method: Method::POST,
            path,
            form: Some(form),
        }
    }

    /// Returns the request with `headers`, and those of the body.
    fn into_request(self, headers: HeaderMap) -> Request<Body> {
        let mut request = Request::new(body::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.into();
        *request.headers_mut() = headers;
        if let Some(form) = self.form {
            let headers = request.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(form.len()));
            *request.body_mut() = body::full(form);
        }
        request
    }
}

/// Laravel's response, read to its end.
#[derive(Debug)]
pub(super) struct AuthResponse {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl AuthClient {
    /// Creates a client for `upstream`, which counts the results in `metrics`.
    pub(crate) fn new(upstream: Upstream, settings: &Settings, metrics: Arc<Metrics>) -> Self {
        Self {
            upstream,
            timeout: settings.request_timeout.get(),
            token_form: settings.token_form,
            metrics,
            backoff: Arc::new(Backoff::new()),
        }
    }

    /// Returns whether Laravel has granted a request of any client after `moment`: if so, a
    /// response that is missing is no outage.
    pub(crate) fn has_granted_since(&self, moment: Instant) -> bool {
        self.backoff.has_granted_since(moment)
    }

    /// Counts a result about a `kind` of right. A yes or a no ends the token's wait for
    /// Laravel's `Retry-After`.
    pub(super) fn count_verdict<V>(
        &self,
        auth_request: &AuthRequest,
        verdict: &Result<Verdict<V>, Error>,
        kind: &'static str,
    ) {
        let result = match verdict {
            Ok(Verdict { value: Some(_), .. }) => {
                self.backoff.granted(&auth_request.secret);
                "allowed"
            }
            Ok(_) | Err(Error::Denied | Error::TokenRejected | Error::OtherUser) => {
                self.backoff.denied(&auth_request.secret);
                "denied"
            }
            Err(Error::Unavailable { .. }) => "unavailable",
        };
        self.metrics.count_request(kind, result);
    }

    /// Sends `query` and reads the response, of at most 1 MiB. Like
    /// [`AuthClient::fetch_status`], it never follows a redirect.
    ///
    /// Dropping the future aborts the request.
    ///
    /// # Errors
    /// `Unavailable` if the request fails or takes too long, for 429 and 5xx, while the token
    /// waits for Laravel's `Retry-After`, and for a body that is cut off or too long.
    pub(super) async fn fetch(
        &self,
        query: Query,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<AuthResponse, Error> {
        let fetching = async {
            let response = self.send(query, auth_request, started).await?;
            let status = response.status();
            let body = body::read_limited(response.into_body(), MAX_RESPONSE_BYTES)
                .await
                .map_err(|_| {
                    Error::unavailable("Laravel's response broke off or is too long".to_owned())
                })?;
            Ok(AuthResponse { status, body })
        };
        self.with_timeout(fetching, started).await
    }

    /// Sends `query` and returns the status. Dropping the future aborts the request.
    ///
    /// # Errors
    /// As [`AuthClient::fetch`].
    pub(super) async fn fetch_status(
        &self,
        query: Query,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<StatusCode, Error> {
        let sending = self.send(query, auth_request, started);
        let response = self.with_timeout(sending, started).await?;
        Ok(response.status())
    }

    /// Bounds `request` by the timeout of the settings, from the time at which it has
    /// `started`. The queue of `upstream.max_connections` before that has a bound of its own.
    async fn with_timeout<T>(
        &self,
        request: impl Future<Output = Result<T, Error>>,
        started: &CancellationToken,
    ) -> Result<T, Error> {
        let overdue = async {
            started.cancelled().await;
            tokio::time::sleep(self.timeout).await;
        };
        tokio::select! {
            biased;
            result = request => result,
            () = overdue => Err(Error::unavailable(
                "Laravel did not respond in time".to_owned(),
            )),
        }
    }

    /// Sends a request and returns the response. Cancels `started` when it leaves the edge's
    /// queues, and records the `Retry-After` of a 429 or 5xx.
    ///
    /// # Errors
    /// `Unavailable` if the request fails, for 429 and 5xx, and while the token waits.
    async fn send(
        &self,
        query: Query,
        auth_request: &AuthRequest,
        started: &CancellationToken,
    ) -> Result<Response<Body>, Error> {
        if auth_request.urgency == Urgency::Routine {
            self.check_backoff(auth_request)
                // Laravel asked for the wait, not a queue of the edge.
                .inspect_err(|_| started.cancel())?;
        }
        let (credential, client) = (&auth_request.credential, &auth_request.client);
        let headers = request_headers(&query.method, credential, self.token_form, client);
        let mut request = query.into_request(headers);
        let mark = HeaderValue::from_static("authorization");
        request.headers_mut().insert(forwarded::EDGE_REQUEST, mark);
        let sending = self
            .upstream
            .send_with(Box::new(request), || started.cancel());
        let sent = sending.await;
        let response = sent.map_err(|error| Error::unavailable(error_chain(&error)))?;
        let status = response.status();
        let is_throttled = status == StatusCode::TOO_MANY_REQUESTS;
        if !is_throttled && !status.is_server_error() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers());
        if let Some(wait) = retry_after {
            if is_throttled {
                self.backoff.throttle(auth_request.secret, wait);
            } else {
                self.backoff.outage(auth_request.secret, wait);
            }
        }
        Err(Error::Unavailable {
            reason: format!("Laravel responded with {}", status.as_u16()),
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

    /// Rejects the request while its token waits for Laravel's `Retry-After`.
    fn check_backoff(&self, auth_request: &AuthRequest) -> Result<(), Error> {
        let checked = self.backoff.check(&auth_request.secret);
        checked.map_err(|wait| Error::Unavailable {
            reason: "Laravel asked for a later retry".to_owned(),
            retry_after: Some(wait.left),
            is_throttled: wait.is_throttled,
        })
    }
}

/// Returns the headers of a request with `method` on behalf of a client.
///
/// Some applications scan requests for attacks. They take a `|` before certain letters for
/// one, and log the request with the token in it. Behind nginx PHP sees the headers in
/// reverse order, so no order is safe; with [`TokenForm::Secret`] there is no `|`. For the
/// same reason the agent's name has more than ten characters and no parentheses.
pub(crate) fn request_headers(
    method: &Method,
    credential: &Credential,
    form: TokenForm,
    client_context: &ClientContext,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(HOST, client_context.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    forwarded::write_headers(&mut headers, client_context.client);
    credential.write_headers(method, form, &mut headers);
    headers
}

/// Returns the wait of `Retry-After`, given in seconds or as a date (RFC 9110 §10.2.3), one
/// hour at most.
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

/// The media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// The maximum wait taken from `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The `User-Agent` of the edge's own requests.
const USER_AGENT_VALUE: &str = concat!("pwd-edge/", env!("CARGO_PKG_VERSION"));
/// The maximum body of a response. A user is far shorter, and so is a channel.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
