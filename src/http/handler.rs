//! What becomes of one request: counted, checked, routed, answered.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, STRICT_TRANSPORT_SECURITY,
};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::access_log::{AccessLogEntry, LoggedBody};
use super::compress::{self, Compression};
use super::rejection::prefers_json;
use super::routes::{self, Action, Route, Routes};
use super::static_files;
use super::{BadRequest, Downstream, ErrorPages, Maintenance, Rejection, Settings, normalize};
use crate::core::body::{self, Body};
use crate::core::client::ClientIp;
use crate::core::paths::NormalizedPath;
use crate::core::units::ConfigDuration;
use crate::forwarded::{ClientInfo, TrustedHeaders, TrustedProxies, X_REQUEST_ID};
use crate::limit::{
    ClientConcurrency, ClientPermit, ConcurrencyLimit, Limit, LimitExceeded, Limits,
    OverloadMonitor,
};
use crate::metrics::{self, Metrics};
use crate::runtime::activity::SendClock;
use crate::runtime::drain::Drain;
use crate::upstream::Upstream;
use crate::ws::Gateway;

/// Answers requests as one configuration says.
#[derive(Debug)]
pub struct Handler {
    pub(super) settings: Settings,
    pub(super) compression: Compression,
    pub(super) in_flight: ConcurrencyLimit,
    pub(super) open_files: ConcurrencyLimit,
    pub(super) gateway: Gateway,
    pub(super) drain: Drain,
    proxies: TrustedProxies,
    trusted_headers: TrustedHeaders,
    pub(super) limits: Arc<Limits>,
    sessions: ClientConcurrency,
    load: OverloadMonitor,
    routes: Routes,
    pages: ErrorPages,
    maintenance: Maintenance,
    pub(super) metrics: Arc<Metrics>,
    /// Of requests that no route was found for.
    unrouted: Arc<metrics::Route>,
}

/// What a [`Handler`] is made of.
#[derive(Debug)]
pub struct HandlerDeps {
    /// `[http]`.
    pub settings: Settings,
    /// `[compression]`.
    pub compression: compress::Settings,
    /// Who may say for whom he asks.
    pub proxies: TrustedProxies,
    /// Which headers of theirs are believed.
    pub trusted_headers: TrustedHeaders,
    /// What each client may do.
    pub limits: Arc<Limits>,
    /// WebSocket sessions of each client.
    pub sessions: ClientConcurrency,
    /// Whether there are too many already.
    pub load: OverloadMonitor,
    /// Requests on their way to an upstream.
    pub in_flight: ConcurrencyLimit,
    /// Files on their way to clients.
    pub open_files: ConcurrencyLimit,
    /// Answers WebSocket upgrades.
    pub gateway: Gateway,
    /// Which request goes where.
    pub routes: Routes,
    /// What refusals look like.
    pub pages: ErrorPages,
    /// Whether the site is closed.
    pub maintenance: Maintenance,
    /// Where tunnels run.
    pub drain: Drain,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

/// One request and whose it is.
pub(super) struct RequestContext<'a> {
    pub(super) downstream: &'a Downstream,
    pub(super) client_info: ClientInfo,
}

impl RequestContext<'_> {
    /// The client's own port, if it is its connection.
    pub(super) fn client_port(&self) -> Option<u16> {
        let is_its = self.client_info.client == self.downstream.peer;
        self.downstream.port.filter(|_| is_its)
    }
}

impl Handler {
    /// A handler made of `parts`.
    pub fn new(parts: HandlerDeps) -> Self {
        Self {
            settings: parts.settings,
            compression: Compression::new(parts.compression),
            in_flight: parts.in_flight,
            open_files: parts.open_files,
            gateway: parts.gateway,
            drain: parts.drain,
            proxies: parts.proxies,
            trusted_headers: parts.trusted_headers,
            limits: parts.limits,
            sessions: parts.sessions,
            load: parts.load,
            routes: parts.routes,
            pages: parts.pages,
            maintenance: parts.maintenance,
            unrouted: parts.metrics.requests.route(&"none".into()),
            metrics: parts.metrics,
        }
    }

    /// Frees what is kept of clients that have been quiet for a while.
    pub fn forget_idle(&self) {
        self.limits.forget_idle();
        self.routes.forget_idle();
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers one request. Never fails: what goes wrong becomes an answer. `clock`
    /// sees whether the client takes it.
    pub async fn handle(
        &self,
        downstream: &Downstream,
        request: Box<Request<Incoming>>,
        clock: Arc<SendClock>,
    ) -> Response<LoggedBody> {
        let in_flight = downstream.activity.begin_exchange();
        let exchange = RequestContext {
            downstream,
            client_info: self.client_info(downstream, request.headers()),
        };
        let mut line = AccessLogEntry::new(&exchange, &request, &self.unrouted);
        let as_json = prefers_json(request.headers());
        let version = request.version();
        let is_head = request.method() == Method::HEAD;
        let answer = self.respond(&exchange, &mut line, request).await;
        let mut close = version < Version::HTTP_11;
        // On the connection of a trusted proxy others are served as well.
        if exchange.client_info.client == downstream.peer {
            let is_over = matches!(answer, Err(Rejection::Over(_)));
            downstream.refusals.record(is_over);
            close |= downstream.refusals.is_exceeded() && version <= Version::HTTP_11;
        }
        let mut response = answer.unwrap_or_else(|rejection| {
            close |= rejection.closes_connection() && version <= Version::HTTP_11;
            line.set_rejection(rejection);
            let response =
                rejection.response(&self.pages, &exchange.client_info.request_id, as_json);
            let response = if rejection == Rejection::Maintenance && !as_json {
                self.maintenance.write(response)
            } else {
                response
            };
            if is_head {
                without_body(response)
            } else {
                response
            }
        });
        let mut id = exchange.client_info.request_id.header();
        // HTTP/2 would keep it for the next answers, and compare each of theirs with
        // all that it kept (RFC 7541 §6.2.3).
        id.set_sensitive(true);
        response.headers_mut().insert(X_REQUEST_ID, id);
        if close {
            // An HTTP/1.0 client is given one answer and the end of the connection.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if let Some(hsts) = self.settings.hsts_max_age {
            let header = response.headers_mut().entry(STRICT_TRANSPORT_SECURITY);
            header.or_insert_with(|| hsts_header(hsts));
        }
        let status = response.status();
        response.map(|body| line.begin_response(status, body, clock, in_flight))
    }

    /// Who sends a request with `headers`.
    fn client_info(&self, downstream: &Downstream, headers: &HeaderMap) -> ClientInfo {
        let peer = downstream.peer;
        if downstream.is_unnamed {
            ClientInfo::untrusted(peer)
        } else {
            ClientInfo::from_headers(peer, headers, &self.proxies, &self.trusted_headers)
        }
    }

    async fn respond(
        &self,
        exchange: &RequestContext<'_>,
        line: &mut AccessLogEntry,
        mut request: Box<Request<Incoming>>,
    ) -> Result<Response<Body>, Rejection> {
        let client = exchange.client_info.client;
        let within = self.limits.check_request(client);
        let settled = normalize::normalize_request(&mut request, &exchange.client_info);
        let found = settled.and_then(|()| self.routes.find(&request));
        if let Ok(route) = &found {
            line.set_route(&route.metrics);
        }
        within.map_err(Rejection::Over)?;
        let route = found?;
        if let Some(rate) = &route.rate {
            self.limits
                .check_route(rate, client)
                .map_err(Rejection::Over)?;
        }
        if route.require_client_certificate && exchange.downstream.subject.is_none() {
            return Err(Rejection::NoCertificate);
        }
        if self.is_for_gateway(route, &request) {
            let share = self.admit_session(client).map_err(Rejection::Over)?;
            if self.load.is_full() {
                return Err(Rejection::Full);
            }
            let held = (Arc::clone(&exchange.downstream.permit), share);
            let accepted = self.gateway.accept(*request, client, held);
            return accepted.map_err(Rejection::WebSocket);
        }
        if self.maintenance.is_on() {
            return Err(Rejection::Maintenance);
        }
        let upstream = match &route.action {
            Action::Upstream(upstream) => upstream,
            Action::Files(files, upstream) => {
                if let Some(file) = Box::pin(self.serve_file(exchange, files, &request)).await? {
                    return Ok(file);
                }
                let missing = || static_files::not_found(&request);
                upstream.as_ref().ok_or_else(missing)?
            }
            Action::Redirect(origin) => {
                return redirect(routes::redirect_location(origin, request.uri()));
            }
            Action::Refusal(status) => return Err(Rejection::Route(*status)),
        };
        self.proxy(exchange, route, upstream, request).await
    }

    /// Sends `check_request` on to an app, and counts whose log-in it refuses.
    async fn proxy(
        &self,
        exchange: &RequestContext<'_>,
        route: &Route,
        upstream: &Upstream,
        request: Box<Request<Incoming>>,
    ) -> Result<Response<Body>, Rejection> {
        let client = exchange.client_info.client;
        let logs_in = self.is_login(&request);
        if logs_in {
            self.limits.check_login(client).map_err(Rejection::Over)?;
        }
        let answer = self.forward(exchange, route, upstream, request).await?;
        if logs_in && LOGIN_FAILED_STATUSES.contains(&answer.status().as_u16()) {
            self.limits.record_login_failure(client, None);
        }
        Ok(answer)
    }

    /// Looks whether the site is closed. Reads from disk, so not on a thread that
    /// serves others.
    pub fn refresh_maintenance(&self) {
        self.maintenance.refresh();
    }

    /// A share in the sessions that `client` may have; none if it has no limits.
    fn admit_session(&self, client: ClientIp) -> Result<Option<ClientPermit>, LimitExceeded> {
        self.limits.check_upgrade(client)?;
        let Some(keys) = self.limits.keys(client) else {
            return Ok(None);
        };
        let most = self.limits.settings().max_sessions_per_client;
        let share = self.sessions.acquire(keys, most);
        if share.is_none() {
            let over = LimitExceeded::new(Limit::MaxSessionsPerClient, RETRY_AFTER);
            self.limits.report_exceeded(client, over)?;
        }
        Ok(share)
    }

    /// Whether somebody says who he is, with a password.
    fn is_login<B>(&self, request: &Request<B>) -> bool {
        let paths = &self.limits.settings().login_paths;
        let read = || NormalizedPath::parse(request.uri().path()).ok();
        let may_be = |path: NormalizedPath<'_>| {
            paths
                .iter()
                .any(|ours| path.may_match_suffix(ours.as_str()))
        };
        request.method() == Method::POST && read().is_some_and(may_be)
    }

    /// Whether `check_request` is a WebSocket of ours: not where a route refuses,
    /// leads elsewhere, or lets the app answer upgrades.
    fn is_for_gateway<B>(&self, route: &Route, request: &Request<B>) -> bool {
        let leads_on = matches!(route.action, Action::Upstream(_) | Action::Files(..));
        leads_on && route.upgrade_protocols.is_empty() && self.gateway.is_upgrade(request)
    }
}

/// When a place that others hold may be free.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// What Laravel apps say to a wrong password; 422 is Laravel's own, 423 a locked
/// account.
const LOGIN_FAILED_STATUSES: [u16; 4] = [401, 403, 422, 423];

/// 308: the method and the body go along (RFC 9110 §15.4.9).
fn redirect(location: Option<HeaderValue>) -> Result<Response<Body>, Rejection> {
    let location = location.ok_or(Rejection::BadRequest(BadRequest::TargetForm))?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Only the head of `response`: over HTTP/2 hyper would send its body, too, which no
/// client bears (RFC 9110 §9.3.2).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response.map(|_| body::empty())
}

/// For how long a browser is to come over TLS alone (RFC 6797 §6.1).
fn hsts_header(hsts: ConfigDuration) -> HeaderValue {
    let text = format!("max-age={}", hsts.get().as_secs());
    HeaderValue::try_from(text).expect("digits are visible ASCII")
}
