//! The request handler: applies limits, normalization, routing, maintenance and access
//! rules to a request, passes it to its destination, and finishes the response with its
//! common headers and the access log line.

pub(super) mod access_log;
pub(super) mod compression;
pub(super) mod maintenance;
pub(super) mod normalize;
mod proxy;
pub(super) mod routes;
mod static_files;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, STRICT_TRANSPORT_SECURITY,
};
use hyper::{Method, Request, Response, StatusCode, Version};

use self::access_log::{AccessLogEntry, LoggedBody};
use self::compression::Compression;
use self::maintenance::Maintenance;
use self::routes::{Action, Route, Routes};
use super::rejection::prefers_json;
use super::{BadRequest, Downstream, ErrorPages, Rejection, Settings};
use crate::core::body::{self, Body};
use crate::core::client_ip::ClientIp;
use crate::core::request_path::NormalizedPath;
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

/// Handles the requests of one configuration generation.
#[derive(Debug)]
pub struct Handler {
    settings: Settings,
    compression: Compression,
    in_flight: ConcurrencyLimit,
    open_files: ConcurrencyLimit,
    gateway: Gateway,
    drain: Drain,
    proxies: TrustedProxies,
    trusted_headers: TrustedHeaders,
    limits: Arc<Limits>,
    sessions: ClientConcurrency,
    load: OverloadMonitor,
    routes: Routes,
    pages: ErrorPages,
    maintenance: Maintenance,
    metrics: Arc<Metrics>,
    /// Metrics of requests for which no route was found.
    unrouted: Arc<metrics::Route>,
}

/// The dependencies of a [`Handler`].
#[derive(Debug)]
pub struct HandlerDeps {
    /// The settings of `[http]`.
    pub settings: Settings,
    /// The settings of `[compression]`.
    pub compression: compression::Settings,
    /// Proxies whose `X-Forwarded-*` headers are trusted.
    pub proxies: TrustedProxies,
    /// The headers of these proxies that are trusted.
    pub trusted_headers: TrustedHeaders,
    /// The limits of each client.
    pub limits: Arc<Limits>,
    /// The WebSocket sessions of each client.
    pub sessions: ClientConcurrency,
    /// The monitor that rejects new sessions while the edge is overloaded.
    pub load: OverloadMonitor,
    /// The limit of requests that are in flight to an upstream.
    pub in_flight: ConcurrencyLimit,
    /// The limit of files that are open for responses.
    pub open_files: ConcurrencyLimit,
    /// The gateway that takes WebSocket upgrades.
    pub gateway: Gateway,
    /// The routing table.
    pub routes: Routes,
    /// The pages of rejections.
    pub pages: ErrorPages,
    /// The maintenance mode of the site.
    pub maintenance: Maintenance,
    /// The drain that runs tunnels and buffered responses.
    pub drain: Drain,
    /// The metrics of requests and upstreams.
    pub metrics: Arc<Metrics>,
}

/// The context of one request: its connection and its client.
struct RequestContext<'a> {
    downstream: &'a Downstream,
    client_info: ClientInfo,
}

impl RequestContext<'_> {
    /// Returns the client's source port, or `None` behind a proxy.
    fn client_port(&self) -> Option<u16> {
        let is_direct = self.client_info.client == self.downstream.peer;
        self.downstream.port.filter(|_| is_direct)
    }
}

impl Handler {
    /// Creates a handler from its dependencies.
    pub fn new(deps: HandlerDeps) -> Self {
        Self {
            settings: deps.settings,
            compression: Compression::new(deps.compression),
            in_flight: deps.in_flight,
            open_files: deps.open_files,
            gateway: deps.gateway,
            drain: deps.drain,
            proxies: deps.proxies,
            trusted_headers: deps.trusted_headers,
            limits: deps.limits,
            sessions: deps.sessions,
            load: deps.load,
            routes: deps.routes,
            pages: deps.pages,
            maintenance: deps.maintenance,
            unrouted: deps.metrics.requests.route(&"none".into()),
            metrics: deps.metrics,
        }
    }

    /// Frees the state of clients whose limits have recovered completely.
    pub fn forget_idle(&self) {
        self.limits.forget_idle();
        self.routes.forget_idle();
    }

    /// Returns the settings of `[http]`.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the response to `request`. It never fails: every error becomes a response.
    /// `clock` measures whether the client reads the response.
    ///
    /// Cancel-safe: if the future is dropped, the request is logged as 499 and its upstream
    /// request is aborted.
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
        let mut log_entry = AccessLogEntry::new(&exchange, &request, &self.unrouted);
        let as_json = prefers_json(request.headers());
        let version = request.version();
        let is_head = request.method() == Method::HEAD;
        let result = self.respond(&exchange, &mut log_entry, request).await;
        // An HTTP/1.0 client gets one response and the end of the connection.
        let mut close = version < Version::HTTP_11;
        // A trusted proxy shares its connection among clients, so the limits of one client
        // must not close it.
        if exchange.client_info.client == downstream.peer {
            let is_over = matches!(result, Err(Rejection::Over(_)));
            downstream.rejections.record(is_over);
            close |= downstream.rejections.is_exceeded() && version <= Version::HTTP_11;
        }
        let mut response = result.unwrap_or_else(|rejection| {
            close |= rejection.closes_connection() && version <= Version::HTTP_11;
            log_entry.set_rejection(rejection);
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
        // Never indexed (RFC 7541 §6.2.3): the id never repeats, so HPACK would only fill
        // its table with it and search the table for each response.
        id.set_sensitive(true);
        response.headers_mut().insert(X_REQUEST_ID, id);
        if close {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if let Some(hsts) = self.settings.hsts_max_age {
            let header = response.headers_mut().entry(STRICT_TRANSPORT_SECURITY);
            header.or_insert_with(|| hsts_header(hsts));
        }
        let status = response.status();
        response.map(|body| log_entry.begin_response(status, body, clock, in_flight))
    }

    /// Returns the client of a request with `headers`.
    fn client_info(&self, downstream: &Downstream, headers: &HeaderMap) -> ClientInfo {
        let peer = downstream.peer;
        if downstream.is_unnamed {
            ClientInfo::untrusted(peer)
        } else {
            ClientInfo::from_headers(peer, headers, &self.proxies, &self.trusted_headers)
        }
    }

    /// Applies all checks in order, then passes the request to its destination.
    async fn respond(
        &self,
        exchange: &RequestContext<'_>,
        log_entry: &mut AccessLogEntry,
        mut request: Box<Request<Incoming>>,
    ) -> Result<Response<Body>, Rejection> {
        let client = exchange.client_info.client;
        // The rate is counted first and reported last: a request over the limit still
        // counts in the metrics of its route.
        let within_rate = self.limits.check_request(client);
        let found = normalize::normalize_request(&mut request, &exchange.client_info)
            .and_then(|()| self.routes.find(&request));
        if let Ok(route) = &found {
            log_entry.set_route(&route.metrics);
        }
        within_rate.map_err(Rejection::Over)?;
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
            let session_permit = self.admit_session(client).map_err(Rejection::Over)?;
            if self.load.is_full() {
                return Err(Rejection::Full);
            }
            let permits = (Arc::clone(&exchange.downstream.permit), session_permit);
            let accepted = self.gateway.accept(*request, client, permits);
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
                let not_found = || static_files::not_found(&request);
                upstream.as_ref().ok_or_else(not_found)?
            }
            Action::Redirect(origin) => {
                return redirect(routes::redirect_location(origin, request.uri()));
            }
            Action::Reject(status) => return Err(Rejection::Route(*status)),
        };
        self.proxy(exchange, route, upstream, request).await
    }

    /// Forwards `request` to an application, and counts a log-in that fails.
    async fn proxy(
        &self,
        exchange: &RequestContext<'_>,
        route: &Route,
        upstream: &Upstream,
        request: Box<Request<Incoming>>,
    ) -> Result<Response<Body>, Rejection> {
        let client = exchange.client_info.client;
        let is_login = self.is_login(&request);
        if is_login {
            self.limits.check_login(client).map_err(Rejection::Over)?;
        }
        let response = self.forward(exchange, route, upstream, request).await?;
        if is_login && LOGIN_FAILED_STATUSES.contains(&response.status().as_u16()) {
            self.limits.record_login_failure(client, None);
        }
        Ok(response)
    }

    /// Checks whether the maintenance page exists. Blocks on the disk, so it must run on a
    /// blocking thread.
    pub fn refresh_maintenance(&self) {
        self.maintenance.refresh();
    }

    /// Returns a permit for one session of `client`; `None` if the client is exempt.
    fn admit_session(&self, client: ClientIp) -> Result<Option<ClientPermit>, LimitExceeded> {
        self.limits.check_upgrade(client)?;
        let Some(keys) = self.limits.keys(client) else {
            return Ok(None);
        };
        let most = self.limits.settings().max_sessions_per_client;
        let permit = self.sessions.acquire(keys, most);
        if permit.is_none() {
            let over = LimitExceeded::new(Limit::MaxSessionsPerClient, RETRY_AFTER);
            self.limits.report_exceeded(client, over)?;
        }
        Ok(permit)
    }

    /// Returns whether `request` is a `POST` to one of `limits.login_paths`.
    fn is_login<B>(&self, request: &Request<B>) -> bool {
        let login_paths = &self.limits.settings().login_paths;
        let parse = || NormalizedPath::parse(request.uri().path()).ok();
        let may_match = |path: NormalizedPath<'_>| {
            login_paths
                .iter()
                .any(|login_path| path.may_match_suffix(login_path.as_str()))
        };
        request.method() == Method::POST && parse().is_some_and(may_match)
    }

    /// Returns whether the gateway takes `request`: it is a WebSocket upgrade, and its
    /// route neither rejects nor redirects it, nor tunnels upgrades to the application.
    fn is_for_gateway<B>(&self, route: &Route, request: &Request<B>) -> bool {
        let has_content = matches!(route.action, Action::Upstream(_) | Action::Files(..));
        has_content && route.upgrade_protocols.is_empty() && self.gateway.is_upgrade(request)
    }
}

/// The time after which one of the client's sessions may have ended.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// The statuses of Laravel applications for a failed log-in. 422 is Laravel's default; 423
/// stands for a locked account.
const LOGIN_FAILED_STATUSES: [u16; 4] = [401, 403, 422, 423];

/// Returns a 308 response, which keeps the method and the body (RFC 9110 §15.4.9).
fn redirect(location: Option<HeaderValue>) -> Result<Response<Body>, Rejection> {
    let location = location.ok_or(Rejection::BadRequest(BadRequest::TargetForm))?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Removes the body of a response to `HEAD` and keeps its `Content-Length` (RFC 9110
/// §9.3.2). Over HTTP/2, hyper would send the body, which clients treat as an error.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response.map(|_| body::empty())
}

/// Returns the value of `Strict-Transport-Security` (RFC 6797 §6.1).
fn hsts_header(hsts: ConfigDuration) -> HeaderValue {
    let text = format!("max-age={}", hsts.get().as_secs());
    HeaderValue::try_from(text).expect("digits are visible ASCII")
}
