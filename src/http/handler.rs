//! What becomes of one request: counted, checked, routed, answered.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, LOCATION, STRICT_TRANSPORT_SECURITY};
use hyper::{Request, Response, StatusCode, Version};

use super::access_log::AccessLine;
use super::compress::{self, Compression};
use super::refusal::prefers_json;
use super::routes::{self, Route, Routes, Target};
use super::{Downstream, Pages, Refusal, Settings, sound};
use crate::body::{self, Body};
use crate::drain::Drain;
use crate::forwarded::{Sender, TrustedProxies};
use crate::limit::{Connections, RequestRate};
use crate::metrics::{self, Metrics};
use crate::units::Span;
use crate::ws::Gateway;

/// Answers requests as one configuration says.
#[derive(Debug)]
pub struct Handler {
    pub(super) settings: Settings,
    pub(super) compression: Compression,
    pub(super) in_flight: Connections,
    pub(super) gateway: Gateway,
    pub(super) drain: Drain,
    proxies: TrustedProxies,
    rate: Arc<RequestRate>,
    routes: Routes,
    pages: Pages,
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
    /// Requests per second of each client.
    pub rate: Arc<RequestRate>,
    /// Requests on their way to an upstream.
    pub in_flight: Connections,
    /// Answers WebSocket upgrades.
    pub gateway: Gateway,
    /// Which request goes where.
    pub routes: Routes,
    /// What refusals look like.
    pub pages: Pages,
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

impl Handler {
    /// A handler made of `parts`.
    pub fn new(parts: Parts) -> Self {
        Self {
            settings: parts.settings,
            compression: Compression::new(parts.compression),
            in_flight: parts.in_flight,
            gateway: parts.gateway,
            drain: parts.drain,
            proxies: parts.proxies,
            rate: parts.rate,
            routes: parts.routes,
            pages: parts.pages,
            unrouted: parts.metrics.requests.route(&"none".into()),
            metrics: parts.metrics,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers one request. Never fails: what goes wrong becomes an answer.
    pub async fn handle(
        &self,
        downstream: &Downstream,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let in_flight = downstream.progress.begin();
        let sender = Sender::read(downstream.peer, request.headers(), &self.proxies);
        let mut line = AccessLine::new(&sender, &request, &self.unrouted, &downstream.progress);
        let as_json = prefers_json(request.headers());
        let version = request.version();
        let exchange = Exchange { downstream, sender };
        let answer = self.answer(&exchange, &mut line, request).await;
        let mut close = version < Version::HTTP_11;
        let mut response = answer.unwrap_or_else(|refusal| {
            close |= refusal.ends_connection() && version <= Version::HTTP_11;
            line.refused(refusal);
            self.metrics.refusals.add(refusal.name());
            refusal.response(&self.pages, &exchange.sender.request_id, as_json)
        });
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
        response.map(|body| line.answered(status, body, in_flight))
    }

    async fn answer(
        &self,
        exchange: &Exchange<'_>,
        line: &mut AccessLine,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let client = exchange.sender.client;
        self.rate
            .check(client.key())
            .map_err(|retry_after| Refusal::TooManyRequests { retry_after })?;
        sound::settle(&mut request, &exchange.sender)?;
        let route = self.routes.find(&request)?;
        line.routed(&route.metrics);
        if route.client_certificate && exchange.downstream.subject.is_none() {
            return Err(Refusal::NoCertificate);
        }
        if self.is_for_gateway(route, &request) {
            let permit = Arc::clone(&exchange.downstream.permit);
            let accepted = self.gateway.accept(request, client, permit);
            return accepted.map_err(Refusal::WebSocket);
        }
        match &route.target {
            Target::Upstream(upstream) => self.forward(exchange, route, upstream, request).await,
            Target::Redirect(origin) => redirect(routes::elsewhere(origin, request.uri())),
            Target::Refusal(status) => Err(Refusal::Route(*status)),
        }
    }

    /// Whether `request` is a WebSocket of ours: not where a route refuses,
    /// leads elsewhere, or lets the app answer upgrades.
    fn is_for_gateway<B>(&self, route: &Route, request: &Request<B>) -> bool {
        let leads_on = matches!(route.target, Target::Upstream(_));
        leads_on && !route.tunnel && self.gateway.wants(request)
    }
}

/// 308: the method and the body go along (RFC 9110 §15.4.9).
fn redirect(location: Option<HeaderValue>) -> Result<Response<Body>, Refusal> {
    let location = location.ok_or(Refusal::BadRequest("its target is not a path"))?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// For how long a browser is to come over TLS alone (RFC 6797 §6.1).
fn lasting(hsts: Span) -> HeaderValue {
    let text = format!("max-age={}", hsts.get().as_secs());
    HeaderValue::try_from(text).expect("digits are visible ASCII")
}
