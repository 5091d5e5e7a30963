//! One question to Laravel, asked so that its middleware takes it for what it is.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode};

use super::{Error, Token};
use crate::body;
use crate::client::ClientIp;
use crate::forwarded;
use crate::upstream::Upstream;

/// On whose behalf a question is asked: Laravel throttles by the client's
/// address, and routes by the site's name.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The client's address.
    pub client: ClientIp,
    /// The `Host` that the client asked for.
    pub host: HeaderValue,
}

/// Asks Laravel.
#[derive(Clone, Debug)]
pub struct Asker {
    upstream: Upstream,
    timeout: Duration,
}

/// What Laravel answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Asker {
    /// Asks `upstream`, each question within `timeout`.
    pub fn new(upstream: Upstream, timeout: Duration) -> Self {
        Self { upstream, timeout }
    }

    /// Asks `method path` with `token`. Redirects are never followed.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: PathAndQuery,
        token: &Token,
        caller: &Caller,
    ) -> Result<Answer, Error> {
        let mut request = Request::new(body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.into();
        *request.headers_mut() = headers(token, caller);
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(unavailable("Laravel did not answer in time".to_owned())),
        }
    }

    async fn exchange(&self, request: Request<body::Body>) -> Result<Answer, Error> {
        let answer = self.upstream.send(request).await;
        let answer = answer.map_err(|error| unavailable(error.chain()))?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Err(Error::Unavailable {
                reason: format!("Laravel answered {}", status.as_u16()),
                retry_after: retry_after(answer.headers()),
            });
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        match body {
            Ok(body) => Ok(Answer {
                status,
                body: body.to_bytes(),
            }),
            Err(_) => Err(unavailable(
                "Laravel's answer broke off or is too long".to_owned(),
            )),
        }
    }
}

pub(super) fn unavailable(reason: String) -> Error {
    Error::Unavailable {
        reason,
        retry_after: None,
    }
}

/// `Accept` goes before `Authorization`, and nothing after it: the app's
/// security log takes `|` followed by certain letters for an attack, and logs
/// the request with the token in it. The agent's name has more than ten
/// characters and no parentheses for the same reason.
fn headers(token: &Token, caller: &Caller) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(HOST, caller.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    forwarded::write(&mut headers, caller.client);
    headers.insert(AUTHORIZATION, token.authorization());
    headers
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); a date is taken as "unknown".
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

const AGENT: &str = concat!("pwd-edge/", env!("CARGO_PKG_VERSION"));
/// A ticket with its messages, asked by `GET`, can be long; a user is not.
const MAX_ANSWER: usize = 1024 * 1024;
