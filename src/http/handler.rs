//! What becomes of one request: counted, checked, routed, answered.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, STRICT_TRANSPORT_SECURITY,
};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::access_log::{AccessLine, Answer};
use super::compress::{self, Compression};
use super::filed;
use super::refusal::prefers_json;
use super::routes::{self, Route, Routes, Target};
use super::{Downstream, Maintenance, Pages, Refusal, Settings, sound};
use crate::activity::SendClock;
use crate::body::{self, Body};
use crate::client::ClientIp;
use crate::drain::Drain;
use crate::forwarded::{Sender, TrustedHeaders, TrustedProxies, X_REQUEST_ID};
use crate::limit::{Connections, Limit, Limits, Load, Over, Share, Shares};
use crate::metrics::{self, Metrics};
use crate::paths::NormalizedPath;
use crate::units::ConfigDuration;
use crate::upstream::Upstream;
use crate::ws::Gateway;

/// Answers requests as one configuration says.
#[derive(Debug)]
pub struct Handler {
    pub(super) settings: Settings,
    pub(super) compression: Compression,
    pub(super) in_flight: Connections,
    pub(super) open_files: Connections,
    pub(super) gateway: Gateway,
    pub(super) drain: Drain,
    proxies: TrustedProxies,
    trusted_headers: TrustedHeaders,
    pub(super) limits: Arc<Limits>,
    sessions: Shares,
    load: Load,
    routes: Routes,
    pages: Pages,
    maintenance: Maintenance,
    pub(super) metrics: Arc<Metrics>,
    /// Of requests that no route was found for.
    unrouted: Arc<metrics::Route>,
}

/// What a [`Handler`] is made of.
#[derive(Debug)]
pub struct Parts {
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
    pub sessions: Shares,
    /// Whether there are too many already.
    pub load: Load,
    /// Requests on their way to an upstream.
    pub in_flight: Connections,
    /// Files on their way to clients.
    pub open_files: Connections,
    /// Answers WebSocket upgrades.
    pub gateway: Gateway,
    /// Which request goes where.
    pub routes: Routes,
    /// What refusals look like.
    pub pages: Pages,
    /// Whether the site is closed.
    pub maintenance: Maintenance,
    /// Where tunnels run.
    pub drain: Drain,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
}

/// One request and whose it is.
pub(super) struct Exchange<'a> {
    pub(super) downstream: &'a Downstream,
    pub(super) sender: Sender,
}

impl Exchange<'_> {
    /// The client's own port, if it is its connection.
    pub(super) fn port(&self) -> Option<u16> {
        let is_its = self.sender.client == self.downstream.peer;
        self.downstream.port.filter(|_| is_its)
    }
}

impl Handler {
    /// A handler made of `parts`.
    pub fn new(parts: Parts) -> Self {
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
    ) -> Response<Answer> {
        let in_flight = downstream.activity.begin_exchange();
        let exchange = Exchange {
            downstream,
            sender: self.sender(downstream, request.headers()),
        };
        let mut line = AccessLine::new(&exchange, &request, &self.unrouted);
        let as_json = prefers_json(request.headers());
        let version = request.version();
        let is_head = request.method() == Method::HEAD;
        let answer = self.answer(&exchange, &mut line, request).await;
        let mut close = version < Version::HTTP_11;
        // On the connection of a trusted proxy others are served as well.
        if exchange.sender.client == downstream.peer {
            let is_over = matches!(answer, Err(Refusal::Over(_)));
            downstream.refusals.note(is_over);
            close |= downstream.refusals.are_too_many() && version <= Version::HTTP_11;
        }
        let mut response = answer.unwrap_or_else(|refusal| {
            close |= refusal.ends_connection() && version <= Version::HTTP_11;
            line.refused(refusal);
            let response = refusal.response(&self.pages, &exchange.sender.request_id, as_json);
            let response = match refusal == Refusal::Maintenance && !as_json {
                true => self.maintenance.write(response),
                false => response,
            };
            match is_head {
                true => headed(response),
                false => response,
            }
        });
        let mut id = exchange.sender.request_id.header();
        // HTTP/2 would keep it for the next answers, and compare each of theirs with
        // all that it kept (RFC 7541 §6.2.3).
        id.set_sensitive(true);
        response.headers_mut().insert(X_REQUEST_ID, id);
        if close {
            // An HTTP/1.0 client is given one answer and the end of the connection.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if let Some(hsts) = self.settings.hsts {
            let header = response.headers_mut().entry(STRICT_TRANSPORT_SECURITY);
            header.or_insert_with(|| lasting(hsts));
        }
        let status = response.status();
        response.map(|body| line.answered(status, body, clock, in_flight))
    }

    /// Who sends a request with `headers`.
    fn sender(&self, downstream: &Downstream, headers: &HeaderMap) -> Sender {
        let peer = downstream.peer;
        if downstream.is_unnamed {
            Sender::stranger(peer)
        } else {
            Sender::read(peer, headers, &self.proxies, &self.trusted_headers)
        }
    }

    async fn answer(
        &self,
        exchange: &Exchange<'_>,
        line: &mut AccessLine,
        mut request: Box<Request<Incoming>>,
    ) -> Result<Response<Body>, Refusal> {
        let client = exchange.sender.client;
        let within = self.limits.request(client);
        let settled = sound::settle(&mut request, &exchange.sender);
        let found = settled.and_then(|()| self.routes.find(&request));
        if let Ok(route) = &found {
            line.routed(&route.metrics);
        }
        within.map_err(Refusal::Over)?;
        let route = found?;
        if let Some(rate) = &route.rate {
            self.limits.route(rate, client).map_err(Refusal::Over)?;
        }
        if route.client_certificate && exchange.downstream.subject.is_none() {
            return Err(Refusal::NoCertificate);
        }
        if self.is_for_gateway(route, &request) {
            let share = self.admit_session(client).map_err(Refusal::Over)?;
            if self.load.is_full() {
                return Err(Refusal::Full);
            }
            let held = (Arc::clone(&exchange.downstream.permit), share);
            let accepted = self.gateway.accept(*request, client, held);
            return accepted.map_err(Refusal::WebSocket);
        }
        if self.maintenance.is_on() {
            return Err(Refusal::Maintenance);
        }
        let upstream = match &route.target {
            Target::Upstream(upstream) => upstream,
            Target::Files(files, upstream) => {
                if let Some(file) = Box::pin(self.file(exchange, files, &request)).await? {
                    return Ok(file);
                }
                let missing = || filed::missing(&request);
                upstream.as_ref().ok_or_else(missing)?
            }
            Target::Redirect(origin) => return redirect(routes::elsewhere(origin, request.uri())),
            Target::Refusal(status) => return Err(Refusal::Route(*status)),
        };
        self.pass_on(exchange, route, upstream, request).await
    }

    /// Sends `request` on to an app, and counts whose log-in it refuses.
    async fn pass_on(
        &self,
        exchange: &Exchange<'_>,
        route: &Route,
        upstream: &Upstream,
        request: Box<Request<Incoming>>,
    ) -> Result<Response<Body>, Refusal> {
        let client = exchange.sender.client;
        let logs_in = self.logs_in(&request);
        if logs_in {
            self.limits.login(client).map_err(Refusal::Over)?;
        }
        let answer = self.forward(exchange, route, upstream, request).await?;
        if logs_in && REFUSED.contains(&answer.status().as_u16()) {
            self.limits.failed(client, None);
        }
        Ok(answer)
    }

    /// Looks whether the site is closed. Reads from disk, so not on a thread that
    /// serves others.
    pub fn look_for_maintenance(&self) {
        self.maintenance.look();
    }

    /// A share in the sessions that `client` may have; none if it has no limits.
    fn admit_session(&self, client: ClientIp) -> Result<Option<Share>, Over> {
        self.limits.upgrade(client)?;
        let Some(keys) = self.limits.keys(client) else {
            return Ok(None);
        };
        let most = self.limits.settings().sessions_per_client;
        let share = self.sessions.share(keys, most);
        if share.is_none() {
            let over = Over::new(Limit::SessionsPerClient, COME_BACK);
            self.limits.over(client, over)?;
        }
        Ok(share)
    }

    /// Whether somebody says who he is, with a password.
    fn logs_in<B>(&self, request: &Request<B>) -> bool {
        let paths = &self.limits.settings().login_paths;
        let read = || NormalizedPath::parse(request.uri().path()).ok();
        let may_be = |path: NormalizedPath<'_>| {
            paths
                .iter()
                .any(|ours| path.may_match_suffix(ours.as_str()))
        };
        request.method() == Method::POST && read().is_some_and(may_be)
    }

    /// Whether `request` is a WebSocket of ours: not where a route refuses,
    /// leads elsewhere, or lets the app answer upgrades.
    fn is_for_gateway<B>(&self, route: &Route, request: &Request<B>) -> bool {
        let leads_on = matches!(route.target, Target::Upstream(_) | Target::Files(..));
        leads_on && route.tunnel.is_empty() && self.gateway.wants(request)
    }
}

/// When a place that others hold may be free.
const COME_BACK: Duration = Duration::from_secs(30);
/// What Laravel apps say to a wrong password; 422 is Laravel's own, 423 a locked
/// account.
const REFUSED: [u16; 4] = [401, 403, 422, 423];

/// 308: the method and the body go along (RFC 9110 §15.4.9).
fn redirect(location: Option<HeaderValue>) -> Result<Response<Body>, Refusal> {
    let location = location.ok_or(Refusal::BadRequest("its target is not a path"))?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Only the head of `response`: over HTTP/2 hyper would send its body, too, which no
/// client bears (RFC 9110 §9.3.2).
fn headed(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response.map(|_| body::empty())
}

/// For how long a browser is to come over TLS alone (RFC 6797 §6.1).
fn lasting(hsts: ConfigDuration) -> HeaderValue {
    let text = format!("max-age={}", hsts.get().as_secs());
    HeaderValue::try_from(text).expect("digits are visible ASCII")
}
