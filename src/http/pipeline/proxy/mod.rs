//! The stage that forwards a request to an application: rewrites it, sends it, and relays
//! the response. Both bodies are streamed.

mod hop_by_hop;
mod trailers;
mod tunnel;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Frame};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode};
use tokio::time::Instant;

use self::tunnel::{TunnelTimeouts, UpgradeRequest};
use super::permit_pool::PermitPool;
use super::request_context::RequestContext;
use super::routes::Route;
use crate::core::body::{self, Body};
use crate::core::client_ip::ClientKey;
use crate::core::error_chain::error_chain;
use crate::core::header_values::has_element;
use crate::forwarded;
use crate::http::body_timeout::IdleTimeoutBody;
use crate::http::{Metrics, Rejection, RequestBody, Settings};
use crate::limit::{ClientKeys, Limits, Permit};
use crate::runtime::activity::{ActivityBody, ActivityTracker, MinRate, MinRateBody};
use crate::runtime::drain::Drain;
use crate::upstream::{self, RequestInfo, Upstream};
use crate::ws::Gateway;

/// Forwards requests to applications.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) timeouts: ProxyTimeouts,
    /// The permits of requests in flight.
    pub(super) permits: PermitPool,
    pub(super) limits: Arc<Limits>,
    /// Recognises logouts.
    pub(super) gateway: Gateway,
    /// Spawns tunnels and the pumps of buffered responses.
    pub(super) drain: Drain,
    pub(super) metrics: Arc<Metrics>,
}

/// The timeouts of forwarded bodies and tunnels.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProxyTimeouts {
    request_body: MinRate,
    response_body: Duration,
    tunnel: TunnelTimeouts,
}

impl ProxyTimeouts {
    /// Returns the timeouts of `settings`.
    pub(super) fn new(settings: &Settings) -> Self {
        let stall = settings.stream_idle_timeout.get();
        Self {
            request_body: MinRate {
                grace: settings.min_body_rate_grace.get(),
                bytes_per_second: settings.min_body_rate.get() as u64,
            },
            response_body: stall,
            tunnel: TunnelTimeouts {
                idle: settings.tunnel_timeout.get(),
                stall,
            },
        }
    }
}

impl Proxy {
    /// Forwards `request` to `upstream` and returns the response.
    ///
    /// # Errors
    /// Returns `Over` or `Busy` if there is no permit, `BodyTooLarge` and `WebSocket` for
    /// the request, and `Unreachable`, `BadGateway`, `GatewayTimeout` and the like for an
    /// upstream that fails.
    pub(super) async fn forward(
        &self,
        context: &RequestContext<'_>,
        route: &Route,
        upstream: &Upstream,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<Response<Body>, Rejection> {
        let permit = self.permits.acquire(context.client()).await?;
        if request.body().size_hint().lower() > route.max_body_size as u64 {
            return Err(Rejection::BodyTooLarge);
        }
        let upgrade = UpgradeRequest::parse(&mut request, &route.upgrade_protocols)
            .map_err(Rejection::WebSocket)?;
        hop_by_hop::remove_headers(request.headers_mut());
        let logout = self.gateway.logout(&request, context.client());
        let mut request = self.upstream_request(context, route, upstream, request);
        if let Some(upgrade) = &upgrade {
            upgrade.add_headers(&mut request);
        }
        let target = request.uri().path_and_query().cloned();
        let start = Instant::now();
        let result = match logout {
            Some(logout) => Box::pin(logout.send(upstream.clone(), request)).await,
            None => upstream.send(request).await,
        };
        let response = result.map_err(|error| {
            self.metrics.count_upstream_failure(&error);
            log_upstream_error(&error, target.as_ref().map_or("", PathAndQuery::path));
            Rejection::from(&error)
        })?;
        self.metrics.record_time_to_headers(start.elapsed());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch_protocols(context, upgrade, response, permit);
        }
        Ok(self.relay(context, upstream, response, permit))
    }

    /// Returns the request for the application: with the forwarding headers of the client
    /// and a body that is bounded in size and rate. The hop-by-hop headers must have been
    /// removed before.
    fn upstream_request(
        &self,
        context: &RequestContext<'_>,
        route: &Route,
        upstream: &Upstream,
        request: Box<Request<RequestBody>>,
    ) -> Box<Request<Body>> {
        let (mut parts, body) = request.into_parts();
        // hyper sends 100 (Continue) itself when the body is read. PHP's built-in server
        // never does.
        parts.headers.remove(EXPECT);
        forwarded::remove_spoofable(&mut parts.headers);
        context.client_info.write_headers(&mut parts.headers);
        if let Some(subject) = &context.downstream.subject {
            forwarded::write_client_subject(&mut parts.headers, subject.as_str());
        }
        if upstream.wants_asker() {
            parts.extensions.insert(RequestInfo {
                port: context.client_port(),
                key: self.app_key(context),
            });
        }
        let body = if body.is_end_stream() {
            body::empty()
        } else {
            let min_rate = self.timeouts.request_body;
            let activity = &context.downstream.activity;
            limit_body(body, route.max_body_size, min_rate, activity)
        };
        Box::new(Request::from_parts(parts, body))
    }

    /// Returns the key under which the client's share of an application is counted; `None`
    /// if the client is exempt from limits.
    fn app_key(&self, context: &RequestContext<'_>) -> Option<ClientKey> {
        let keys = self.limits.keys(context.client());
        keys.map(ClientKeys::widest)
    }

    /// Returns the response for the client: without hop-by-hop headers, and with a timeout
    /// on its body. `Host`, which PHP's built-in server echoes, is removed as well.
    fn relay(
        &self,
        context: &RequestContext<'_>,
        upstream: &Upstream,
        response: Response<Body>,
        permit: Permit,
    ) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        hop_by_hop::remove_headers(&mut parts.headers);
        parts.headers.remove(HOST);
        let body = IdleTimeoutBody::new(body, self.timeouts.response_body, permit);
        let mut body = Body::new(body);
        if may_buffer(&mut parts.headers) {
            let client = self.app_key(context);
            body = upstream.buffer(body, client, &self.drain);
        }
        Response::from_parts(parts, body)
    }

    /// Returns the 101 response for the client and starts the tunnel.
    ///
    /// # Errors
    /// Returns `BadGateway` if the client has requested no upgrade, or another one.
    fn switch_protocols(
        &self,
        context: &RequestContext<'_>,
        upgrade: Option<UpgradeRequest>,
        mut response: Response<Body>,
        permit: Permit,
    ) -> Result<Response<Body>, Rejection> {
        let Some(upgrade) = upgrade else {
            tracing::warn!(
                name: "upstream_switch_unsolicited",
                "unsolicited protocol switch by upstream"
            );
            return Err(Rejection::BadGateway);
        };
        if let Err(reason) = upgrade.check_response(response.headers()) {
            tracing::warn!(
                name: "upstream_switch_invalid",
                reason,
                "invalid protocol switch by upstream"
            );
            return Err(Rejection::BadGateway);
        }
        let protocol = response.headers().get(UPGRADE).cloned();
        let permits = (permit, context.downstream.permit.clone());
        upgrade.connect(&mut response, &self.drain, self.timeouts.tunnel, permits);
        let (mut parts, _) = response.into_parts();
        hop_by_hop::remove_headers(&mut parts.headers);
        parts.headers.remove(CONTENT_LENGTH);
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = protocol {
            parts.headers.insert(UPGRADE, protocol);
        }
        Ok(Response::from_parts(parts, body::empty()))
    }
}

/// Returns `body` bounded to `limit` bytes and to `min_rate`, and with its trailers
/// cleaned.
fn limit_body(
    body: RequestBody,
    limit: usize,
    min_rate: MinRate,
    activity: &ActivityTracker,
) -> Body {
    let body = MinRateBody::new(body::boxed(body), min_rate);
    // A known length was checked against the limit already.
    let body = match body.size_hint().exact() {
        Some(_) => Body::new(body),
        None => Limited::new(body, limit).boxed_unsync(),
    };
    // If the response comes early, the exchange still lasts until the request body has
    // been read or dropped, since its bytes are activity of this exchange.
    let in_flight = activity.begin_exchange();
    let body = body.map_frame(move |frame| {
        let _held = &in_flight;
        match frame.into_trailers() {
            Ok(mut fields) => {
                trailers::remove_forbidden(&mut fields);
                Frame::trailers(fields)
            }
            Err(frame) => frame,
        }
    });
    Body::new(ActivityBody::new(Body::new(body), activity.clone()))
}

/// Removes `X-Accel-Buffering`, and returns whether it allows the response to be buffered.
/// With `no`, nginx's convention, an application keeps its streams from being delayed.
fn may_buffer(headers: &mut HeaderMap) -> bool {
    let is_off = has_element(headers, &X_ACCEL_BUFFERING, "no");
    headers.remove(X_ACCEL_BUFFERING);
    !is_off
}

/// Logs, once per request, why no response came from the upstream.
fn log_upstream_error(error: &upstream::Error, path: &str) {
    let (reason, text) = (error.code(), error_chain(error));
    match error {
        upstream::Error::TooLarge | upstream::Error::TooSlow | upstream::Error::Client(_) => {
            tracing::info!(
                name: "request_not_forwarded",
                path, reason, error = text, "request not fully forwarded"
            );
        }
        _ => tracing::warn!(
            name: "upstream_request_failed",
            path, reason, error = text, "upstream request failed"
        ),
    }
}

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
