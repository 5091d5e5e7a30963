//! The path of a request: [`Pipeline`] passes each one through named stages, in the order
//! in which this file calls them. A stage is a file with a struct of its settings, or with a
//! function if it has none.
//!
//! | stage | file |
//! |---|---|
//! | identify the client | `client_identification` |
//! | begin the access log entry | `access_log` |
//! | check the size of the head | `head_size` |
//! | normalize | `normalize` |
//! | find the route | `routes` |
//! | check the client's rate, or delay the request | `rate_limit` |
//! | check the rate of the route | `rate_limit` |
//! | check the client certificate | `client_certificate` |
//! | respond: WebSocket | `websocket` |
//! | respond: maintenance mode | `maintenance` |
//! | respond: redirect, or a file | `redirect`, `static_files` |
//! | respond: an application | `login_limit`, `proxy`, `sendfile` |
//! | compress | `compression` |
//! | count and render a rejection | `rejections` |
//! | add the common headers | `response_headers` |
//! | finish the access log entry | `access_log`, when the body ends |
//!
//! A stage reads the facts of the request in its [`RequestContext`]. It ends the request
//! by returning a [`Rejection`]; it never renders a response of its own for that.

pub(super) mod access_log;
mod client_certificate;
mod client_identification;
pub(super) mod compression;
mod head_size;
mod login_limit;
pub(super) mod maintenance;
pub(super) mod normalize;
mod permit_pool;
mod proxy;
mod rate_limit;
mod redirect;
mod rejections;
mod request_context;
mod response_headers;
pub(super) mod routes;
mod sendfile;
mod static_files;
mod websocket;

use std::sync::Arc;

use hyper::{Request, Response};

use self::access_log::{AccessLog, LoggedBody};
use self::client_identification::ClientIdentification;
use self::compression::Compression;
use self::head_size::HeadSize;
use self::login_limit::LoginLimit;
use self::maintenance::Maintenance;
use self::normalize::normalize_request;
use self::permit_pool::PermitPool;
use self::proxy::{Proxy, ProxyTimeouts};
use self::rate_limit::RateLimit;
use self::rejections::Rejections;
use self::request_context::RequestContext;
use self::response_headers::ResponseHeaders;
use self::routes::{Action, Route, Routes};
use self::static_files::StaticFiles;
use self::websocket::WebSocket;
use super::{Downstream, ErrorPages, Metrics, Rejection, RequestBody, Settings};
use crate::core::body::Body;
use crate::forwarded::{TrustedHeaders, TrustedProxies};
use crate::limit::{ClientConcurrency, ConcurrencyLimit, Limits, OverloadMonitor, RequestCost};
use crate::runtime::activity::SendClock;
use crate::runtime::drain::Drain;
use crate::upstream::Upstream;
use crate::ws::Gateway;

/// The stages of the requests of one configuration generation.
#[derive(Debug)]
pub(crate) struct Pipeline {
    client_identification: ClientIdentification,
    access_log: AccessLog,
    rate_limit: RateLimit,
    /// The maximum length of path and query in bytes.
    max_target_size: usize,
    head_size: HeadSize,
    routes: Routes,
    websocket: WebSocket,
    maintenance: Arc<Maintenance>,
    static_files: StaticFiles,
    login_limit: LoginLimit,
    proxy: Proxy,
    compression: Compression,
    rejections: Rejections,
    response_headers: ResponseHeaders,
}

impl Pipeline {
    /// Returns the response to `request`. It never fails: every error becomes a response.
    /// `clock` measures whether the client reads the response.
    ///
    /// Cancel-safe: if the future is dropped, the request is logged as 499 and its upstream
    /// request is aborted.
    pub(crate) async fn handle(
        &self,
        downstream: &Downstream,
        request: Box<Request<RequestBody>>,
        clock: Arc<SendClock>,
    ) -> Response<LoggedBody> {
        // The client comes first: normalization takes the host from a trusted proxy. The
        // access log wraps all other stages, as rejected and cancelled requests are logged.
        let client_info = self
            .client_identification
            .identify(downstream, request.headers());
        let log_entry = self.access_log.begin(downstream, &client_info, &request);
        let mut context = RequestContext::new(downstream, client_info, log_entry, &request);

        let result = self.respond(&mut context, request).await;

        let mut response = self.rejections.resolve(&mut context, result);
        self.response_headers.add(&context, &mut response);
        context.log_entry.begin_response(response, clock)
    }

    /// Checks whether `request` is admitted, and passes it to the stage that responds.
    async fn respond(
        &self,
        context: &mut RequestContext<'_>,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<Response<Body>, Rejection> {
        let found = self
            .head_size
            .check(&request)
            .and_then(|()| {
                normalize_request(&mut request, &context.client_info, self.max_target_size)
            })
            .and_then(|()| self.routes.find(&request))
            .inspect(|route| context.set_route(route));
        // Counted after the route is known, because files count less, and because a request
        // over the limit still counts in the metrics of its route. A malformed one counts, too.
        let may_be_file = matches!(&found, Ok(route) if matches!(route.action, Action::Files(..)));
        let cost = if may_be_file {
            RequestCost::File
        } else {
            RequestCost::Full
        };
        self.rate_limit.admit(context, cost).await?;
        let route = found?;
        self.rate_limit.check_route(context, route)?;
        client_certificate::check(context, route)?;

        if self.websocket.is_upgrade(route, &request) {
            // Maintenance mode does not affect sessions.
            return self.websocket.accept(context, *request);
        }
        self.maintenance.check()?;
        let upstream = match &route.action {
            Action::Redirect(origin) => return redirect::respond(origin, &request),
            Action::Reject(status) => return Err(Rejection::Route(*status)),
            Action::Files(files, upstream) => {
                let file = self.static_files.respond(context, files, &request);
                // Boxed, so that the future of other requests reserves no room for it.
                if let Some(file) = Box::pin(file).await? {
                    let accepted = self.compression.accepted_encoding(&request);
                    return Ok(self.compression.apply(accepted, context, file));
                }
                self.rate_limit
                    .admit(context, RequestCost::FullAfterFile)
                    .await?;
                let not_found = || static_files::not_found(&request);
                upstream.as_ref().ok_or_else(not_found)?
            }
            Action::Upstream(upstream) => upstream,
        };
        self.forward(context, route, upstream, request).await
    }

    /// Passes `request` to an application.
    async fn forward(
        &self,
        context: &RequestContext<'_>,
        route: &Route,
        upstream: &Upstream,
        request: Box<Request<RequestBody>>,
    ) -> Result<Response<Body>, Rejection> {
        let login = self.login_limit.begin(context, &request).await?;
        let accepted = self.compression.accepted_encoding(&request);
        let file_request = sendfile::file_request(route, &request);
        let mut response = self
            .proxy
            .forward(context, route, upstream, request)
            .await?;
        if let Some(attempt) = login {
            login_limit::finish(attempt, response.status());
        }
        if let Some(file) = sendfile::take_file(&mut response) {
            let headers = response.into_parts().0.headers;
            let request = file_request.unwrap_or_default();
            let sending = file.send(&self.static_files, context, route, &request);
            // Boxed, so that the future of other responses reserves no room for it.
            response = sendfile::with_app_headers(Box::pin(sending).await?, headers);
        }
        Ok(self.compression.apply(accepted, context, response))
    }

    /// Counts a request that was rejected before it could reach the stages, and logs it if
    /// `is_first`.
    pub(crate) fn report_rejected_head(
        &self,
        downstream: &Downstream,
        rejection: Rejection,
        is_first: bool,
    ) {
        let log = &self.access_log;
        log.record_rejected_head(downstream, rejection, is_first);
    }

    /// Returns the maintenance mode. The server refreshes it.
    pub(crate) fn maintenance(&self) -> &Arc<Maintenance> {
        &self.maintenance
    }

    /// Frees the state of clients whose limits have recovered completely.
    pub(crate) fn forget_idle(&self) {
        self.rate_limit.forget_idle();
        self.routes.forget_idle();
    }
}

/// The dependencies of a [`Pipeline`].
#[derive(Debug)]
pub(crate) struct PipelineDeps {
    /// The settings of `[http]`.
    pub(crate) settings: Settings,
    /// The settings of `[compression]`.
    pub(crate) compression: compression::Settings,
    /// Proxies whose `X-Forwarded-*` headers are trusted.
    pub(crate) proxies: TrustedProxies,
    /// The headers of these proxies that are trusted.
    pub(crate) trusted_headers: TrustedHeaders,
    /// The limits of each client.
    pub(crate) limits: Arc<Limits>,
    /// The WebSocket sessions of each client.
    pub(crate) sessions: ClientConcurrency,
    /// The monitor that rejects new sessions while the edge is overloaded.
    pub(crate) load: OverloadMonitor,
    /// The limit of requests that are in flight to an upstream.
    pub(crate) in_flight: ConcurrencyLimit,
    /// The limit of files that are open for responses.
    pub(crate) open_files: ConcurrencyLimit,
    /// The gateway that takes WebSocket upgrades.
    pub(crate) gateway: Gateway,
    /// The routing table.
    pub(crate) routes: Routes,
    /// The pages of rejections.
    pub(crate) pages: ErrorPages,
    /// The maintenance mode of the site.
    pub(crate) maintenance: Maintenance,
    /// The drain that runs tunnels and buffered responses.
    pub(crate) drain: Drain,
    /// The metrics of requests and upstreams.
    pub(crate) metrics: Arc<Metrics>,
}

impl Pipeline {
    /// Creates the stages from their dependencies.
    pub(crate) fn new(deps: PipelineDeps) -> Self {
        let limits = || Arc::clone(&deps.limits);
        let maintenance = Arc::new(deps.maintenance);
        Self {
            client_identification: ClientIdentification::new(deps.proxies, deps.trusted_headers),
            access_log: AccessLog::new(&deps.metrics),
            rate_limit: RateLimit::new(limits()),
            max_target_size: deps.settings.max_target_size.get(),
            head_size: HeadSize::new(&deps.settings),
            routes: deps.routes,
            websocket: WebSocket {
                gateway: deps.gateway.clone(),
                limits: limits(),
                sessions: deps.sessions,
                load: deps.load,
            },
            maintenance: Arc::clone(&maintenance),
            static_files: StaticFiles::new(PermitPool::new(deps.open_files, limits())),
            login_limit: LoginLimit::new(limits()),
            proxy: Proxy {
                timeouts: ProxyTimeouts::new(&deps.settings),
                permits: PermitPool::new(deps.in_flight, limits()),
                limits: limits(),
                gateway: deps.gateway,
                drain: deps.drain,
                metrics: deps.metrics,
            },
            compression: Compression::new(deps.compression, limits()),
            rejections: Rejections::new(deps.pages, maintenance),
            response_headers: ResponseHeaders::new(deps.settings.hsts_max_age),
        }
    }
}
