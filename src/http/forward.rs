//! From a request that passed to Laravel's answer; both bodies stream.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode};

use tokio::time::Instant;

use super::body_timeout::IdleTimeoutBody;
use super::handler::{Handler, RequestContext};
use super::routes::Route;
use super::tunnel::{Patience, UpgradeRequest};
use super::{Rejection, Settings, hop_by_hop};
use crate::core::body::{self, Body};
use crate::core::client::ClientKey;
use crate::core::error_chain::error_chain;
use crate::forwarded;
use crate::limit::{ClientKeys, ConcurrencyLimit, Limit, LimitExceeded, Permit};
use crate::runtime::activity::{ActivityBody, ActivityTracker, MinRate, MinRateBody};
use crate::upstream::{self, RequestInfo, Upstream};

impl Handler {
    /// Sends `request` on to `upstream`, as `route` says, and its answer back.
    pub(super) async fn forward(
        &self,
        exchange: &RequestContext<'_>,
        route: &Route,
        upstream: &Upstream,
        mut request: Box<Request<Incoming>>,
    ) -> Result<Response<Body>, Rejection> {
        let place = self.acquire_permit(&self.in_flight, exchange).await?;
        if request.body().size_hint().lower() > route.max_body_size as u64 {
            return Err(Rejection::BodyTooLarge);
        }
        let asked = UpgradeRequest::parse(&mut request, &route.upgrade_protocols)
            .map_err(Rejection::WebSocket)?;
        let accepted_encoding = self.compression.accepted_encoding(&request);
        hop_by_hop::remove_headers(request.headers_mut());
        let log_out = self.gateway.logout(&request);
        let mut request = self.upstream_request(exchange, route, upstream, request);
        if let Some(asked) = &asked {
            asked.add_headers(&mut request);
        }
        let target = request.uri().path_and_query().cloned();
        let start = Instant::now();
        let answer = match log_out {
            Some(log_out) => Box::pin(log_out.send(upstream.clone(), request)).await,
            None => upstream.send(request).await,
        };
        let answer = answer.map_err(|error| {
            self.metrics.upstream_failures.add(error.code());
            log_upstream_error(&error, target.as_ref().map_or("", PathAndQuery::path));
            Rejection::from(&error)
        })?;
        self.metrics.upstream_seconds.observe(start.elapsed());
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch_protocols(exchange, asked, answer, place);
        }
        let answer = self.relay(exchange, upstream, answer, place);
        let client = self.limits.share_key(exchange.client_info.client);
        Ok(self.compression.apply(accepted_encoding, client, answer))
    }

    /// What the app is sent for `request`, which is rid of what concerned its
    /// connection: who asks is written, and not more of the body comes than may.
    fn upstream_request(
        &self,
        exchange: &RequestContext<'_>,
        route: &Route,
        upstream: &Upstream,
        request: Box<Request<Incoming>>,
    ) -> Box<Request<Body>> {
        let (mut parts, body) = request.into_parts();
        // hyper has answered it, or will when the body is wanted; PHP's own
        // server never does.
        parts.headers.remove(EXPECT);
        forwarded::remove_spoofable(&mut parts.headers);
        exchange.client_info.write_headers(&mut parts.headers);
        if let Some(subject) = &exchange.downstream.subject {
            forwarded::write_client_subject(&mut parts.headers, subject.as_str());
        }
        if upstream.wants_asker() {
            parts.extensions.insert(RequestInfo {
                port: exchange.client_port(),
                key: self.app_key(exchange),
            });
        }
        let body = if body.is_end_stream() {
            body::empty()
        } else {
            limit_body(
                body,
                route.max_body_size,
                &self.settings,
                &exchange.downstream.activity,
            )
        };
        Box::new(Request::from_parts(parts, body))
    }

    /// By what a client's share of an app is counted; none if it has no limits.
    fn app_key(&self, exchange: &RequestContext<'_>) -> Option<ClientKey> {
        let keys = self.limits.keys(exchange.client_info.client);
        keys.map(ClientKeys::widest)
    }

    /// A place among `places`, the requests on their way to Laravel or the files on
    /// their way to clients: each may hold an open file for as long as its client
    /// likes.
    pub(super) async fn acquire_permit(
        &self,
        places: &ConcurrencyLimit,
        exchange: &RequestContext<'_>,
    ) -> Result<Permit, Rejection> {
        let client = exchange.client_info.client;
        let keys = self.limits.keys(client);
        let share = match keys {
            None => None,
            Some(keys) => {
                let most = self.limits.settings().max_requests_in_flight_per_client;
                let share = places.share(keys, most);
                if share.is_none() {
                    let over = LimitExceeded::new(Limit::MaxRequestsInFlightPerClient, RETRY_AFTER);
                    self.limits
                        .report_exceeded(client, over)
                        .map_err(Rejection::Over)?;
                }
                share
            }
        };
        let slot = places.acquire_slot_within(QUEUE_TIMEOUT, keys).await;
        Ok(places.permit(share, slot.ok_or(Rejection::Busy)?))
    }

    /// Laravel's answer without what concerned only the connection to it. PHP's own
    /// server echoes `Host`.
    fn relay(
        &self,
        exchange: &RequestContext<'_>,
        upstream: &Upstream,
        answer: Response<Body>,
        place: Permit,
    ) -> Response<Body> {
        let (mut parts, body) = answer.into_parts();
        // RFC 9112 §6.3: chunked wins over a length; RFC 9110 §8.6: a 204 has none.
        if parts.headers.contains_key(TRANSFER_ENCODING) || parts.status == StatusCode::NO_CONTENT {
            parts.headers.remove(CONTENT_LENGTH);
        }
        hop_by_hop::remove_headers(&mut parts.headers);
        parts.headers.remove(HOST);
        let body = IdleTimeoutBody::new(body, self.settings.stream_idle_timeout.get(), place);
        let mut body = Body::new(body);
        if may_buffer(&mut parts.headers) {
            let client = self.app_key(exchange);
            body = upstream.buffer(body, client, &self.drain);
        }
        Response::from_parts(parts, body)
    }

    /// The app leaves HTTP: right if that was asked for, and then bytes pass.
    fn switch_protocols(
        &self,
        exchange: &RequestContext<'_>,
        asked: Option<UpgradeRequest>,
        mut answer: Response<Body>,
        place: Permit,
    ) -> Result<Response<Body>, Rejection> {
        let Some(asked) = asked else {
            tracing::warn!(
                name: "upstream_switch_unsolicited",
                "unsolicited protocol switch by upstream"
            );
            return Err(Rejection::BadGateway);
        };
        if let Err(reason) = asked.check_response(answer.headers()) {
            tracing::warn!(
                name: "upstream_switch_invalid",
                reason,
                "invalid protocol switch by upstream"
            );
            return Err(Rejection::BadGateway);
        }
        let upgrade = answer.headers().get(UPGRADE).cloned();
        let held = (place, exchange.downstream.permit.clone());
        let patience = Patience {
            idle: self.settings.tunnel_timeout.get(),
            stall: self.settings.stream_idle_timeout.get(),
        };
        asked.connect(&mut answer, &self.drain, patience, held);
        let (mut parts, _) = answer.into_parts();
        hop_by_hop::remove_headers(&mut parts.headers);
        parts.headers.remove(CONTENT_LENGTH);
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(upgrade) = upgrade {
            parts.headers.insert(UPGRADE, upgrade);
        }
        Ok(Response::from_parts(parts, body::empty()))
    }
}

fn limit_body(
    body: Incoming,
    limit: usize,
    settings: &Settings,
    activity: &ActivityTracker,
) -> Body {
    let pace = MinRate {
        grace: settings.min_body_rate_grace.get(),
        bytes_per_second: settings.min_body_rate.get() as u64,
    };
    let body = MinRateBody::new(body::boxed(body), pace);
    // A body whose length is known was checked; only one without is counted.
    let body = match body.size_hint().exact() {
        Some(_) => Body::new(body),
        None => Limited::new(body, limit).boxed_unsync(),
    };
    // Answered early, a request is still under way until its body is read or
    // given up: what comes meanwhile belongs to it.
    let under_way = activity.begin_exchange();
    // Trailers could say what headers may not.
    let body = body.map_frame(move |frame| {
        let _held = &under_way;
        match frame.into_trailers() {
            Ok(mut trailers) => {
                hop_by_hop::remove_headers(&mut trailers);
                forwarded::remove_spoofable(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }
    });
    Body::new(ActivityBody::new(Body::new(body), activity.clone()))
}

/// Whether the application lets the response be buffered: nginx's convention, by which
/// frameworks keep streams from being held back.
fn may_buffer(headers: &mut HeaderMap) -> bool {
    let accepted_encoding = headers.remove(X_ACCEL_BUFFERING);
    !accepted_encoding
        .is_some_and(|accepted_encoding| accepted_encoding.as_bytes().eq_ignore_ascii_case(b"no"))
}

/// The one log line about a request that Laravel did not answer.
fn log_upstream_error(error: &upstream::Error, path: &str) {
    let (reason, text) = (error.code(), error_chain(error));
    match error {
        upstream::Error::TooLarge
        | upstream::Error::TooSlow
        | upstream::Error::EncodedSlash
        | upstream::Error::Client(_) => {
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
/// When one of a client's own requests may have ended.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a request waits for others to end.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3);
