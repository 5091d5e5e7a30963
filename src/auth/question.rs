//! One question to Laravel, asked so that its middleware takes it for what it is.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::cache::Verdict;
use super::{Error, Token};
use crate::body::{self, Body};
use crate::client::ClientIp;
use crate::forwarded;
use crate::metrics::Metrics;
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

/// Asks Laravel. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Asker {
    upstream: Upstream,
    timeout: Duration,
    metrics: Arc<Metrics>,
    /// Clients for whom Laravel asked not to be asked until then.
    closed: Arc<Mutex<LruCache<ClientIp, Instant>>>,
}

/// What Laravel answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Asker {
    /// Asks `upstream`, each question within `timeout`, and counts the answers.
    pub fn new(upstream: Upstream, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            upstream,
            timeout,
            metrics,
            closed: Arc::new(Mutex::new(LruCache::new(MAX_CLOSED))),
        }
    }

    /// Counts a verdict by the name for a yes, a no, or neither.
    pub(super) fn count<V>(
        &self,
        verdict: &Result<Verdict<V>, Error>,
        [yes, no, neither]: [&'static str; 3],
    ) {
        self.metrics.questions.add(match verdict {
            Ok(Verdict {
                answer: Some(_), ..
            }) => yes,
            Ok(_) | Err(Error::Denied | Error::TokenRefused) => no,
            Err(Error::Unavailable { .. }) => neither,
        });
    }

    /// Asks `GET path` with `token` and reads the answer. Redirects are never
    /// followed, here and in [`Asker::probe`].
    pub(super) async fn read(
        &self,
        path: PathAndQuery,
        token: &Token,
        caller: &Caller,
    ) -> Result<Answer, Error> {
        let reading = async {
            let answer = self.send(Method::GET, path, token, caller).await?;
            let status = answer.status();
            let body = body::read(answer.into_body(), MAX_ANSWER).await;
            let body = body
                .map_err(|_| unavailable("Laravel's answer broke off or is too long".to_owned()))?;
            Ok(Answer { status, body })
        };
        self.in_time(reading).await
    }

    /// Asks `method path` with `token`, only for the status.
    pub(super) async fn probe(
        &self,
        method: Method,
        path: PathAndQuery,
        token: &Token,
        caller: &Caller,
    ) -> Result<StatusCode, Error> {
        let answer = self.in_time(self.send(method, path, token, caller)).await?;
        Ok(answer.status())
    }

    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(unavailable("Laravel did not answer in time".to_owned())),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: PathAndQuery,
        token: &Token,
        caller: &Caller,
    ) -> Result<Response<Body>, Error> {
        self.check_open(caller.client)?;
        let mut request = Request::new(body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.into();
        *request.headers_mut() = headers(token, caller);
        let answer = self.upstream.send(Box::new(request)).await;
        let answer = answer.map_err(|error| unavailable(error.chain()))?;
        let status = answer.status();
        if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
            return Ok(answer);
        }
        let retry_after = retry_after(answer.headers());
        if let Some(wait) = retry_after {
            self.closed.lock().put(caller.client, Instant::now() + wait);
        }
        Err(Error::Unavailable {
            reason: format!("Laravel answered {}", status.as_u16()),
            retry_after,
        })
    }

    /// While Laravel's `Retry-After` for a client runs, it is not asked for him.
    fn check_open(&self, client: ClientIp) -> Result<(), Error> {
        let until = self.closed.lock().peek(&client).copied();
        let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
        match wait.filter(|wait| !wait.is_zero()) {
            None => Ok(()),
            Some(wait) => Err(Error::Unavailable {
                reason: "Laravel asked to be asked later".to_owned(),
                retry_after: Some(wait),
            }),
        }
    }
}

pub(super) fn unavailable(reason: String) -> Error {
    Error::Unavailable {
        reason,
        retry_after: None,
    }
}

/// The headers of a request on a user's behalf, `Authorization` the last of them.
///
/// `Accept` goes before `Authorization`, and nothing after it: the app's
/// security log takes `|` followed by certain letters for an attack, and logs
/// the request with the token in it. The agent's name has more than ten
/// characters and no parentheses for the same reason.
pub fn headers(token: &Token, caller: &Caller) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(HOST, caller.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    forwarded::write(&mut headers, caller.client);
    headers.insert(AUTHORIZATION, token.authorization());
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
    Some(wait.min(LONGEST_WAIT))
}

const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const MAX_CLOSED: NonZeroUsize = NonZeroUsize::new(10_000).expect("above zero");
const AGENT: &str = concat!("pwd-edge/", env!("CARGO_PKG_VERSION"));
/// A user is far shorter.
const MAX_ANSWER: usize = 1024 * 1024;
