//! What becomes of one request: counted, checked, routed, answered.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{
    CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY,
    TRANSFER_ENCODING,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::access_log::AccessLine;
use super::refusal::prefers_json;
use super::watched::Watched;
use super::{Downstream, Refusal, Settings, hop};
use crate::authority::HostPort;
use crate::body::{self, Body};
use crate::forwarded;
use crate::limit::{Connections, Permit, RequestRate};
use crate::progress::Ticking;
use crate::units::Span;
use crate::upstream::{self, Upstream};
use crate::ws::Gateway;

/// Answers requests as one configuration says.
#[derive(Debug)]
pub struct Handler {
    settings: Settings,
    rate: Arc<RequestRate>,
    in_flight: Connections,
    gateway: Gateway,
    upstream: Upstream,
}

impl Handler {
    /// A handler that answers upgrades by `gateway` and all else by `upstream`.
    pub fn new(
        settings: Settings,
        rate: Arc<RequestRate>,
        in_flight: Connections,
        gateway: Gateway,
        upstream: Upstream,
    ) -> Self {
        Self {
            settings,
            rate,
            in_flight,
            gateway,
            upstream,
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
        let line = AccessLine::new(downstream.client, &request);
        let prefers_json = prefers_json(request.headers());
        let version = request.version();
        let answer = self.answer(downstream, request).await;
        let mut response = answer.unwrap_or_else(|refusal| refusal.response(prefers_json));
        if version < Version::HTTP_11 {
            // An HTTP/1.0 client is given one answer and the end of the connection.
            let close = HeaderValue::from_static("close");
            response
                .headers_mut()
                .insert(hyper::header::CONNECTION, close);
        }
        if let Some(hsts) = self.settings.hsts {
            let header = response.headers_mut().entry(STRICT_TRANSPORT_SECURITY);
            header.or_insert_with(|| lasting(hsts));
        }
        let status = response.status();
        let progress = downstream.progress.clone();
        response.map(|body| line.answered(status, body, progress, in_flight))
    }

    async fn answer(
        &self,
        downstream: &Downstream,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        self.rate
            .check(downstream.client.key())
            .map_err(|retry_after| Refusal::TooManyRequests { retry_after })?;
        join_cookies(request.headers_mut());
        // hyper counts them over HTTP/1.1 only.
        if request.headers().len() > MAX_HEADERS {
            return Err(Refusal::HeadTooLarge);
        }
        settle_host(&mut request)?;
        if request.method() == Method::CONNECT {
            return Err(Refusal::NotImplemented);
        }
        if self.gateway.wants(&request) {
            let permit = Arc::clone(&downstream.permit);
            let accepted = self.gateway.accept(request, downstream.client, permit);
            return accepted.map_err(Refusal::WebSocket);
        }
        self.forward(downstream, request).await
    }

    /// A place among the requests on their way to Laravel: each may hold a
    /// connection, and so an open file, for as long as its client likes.
    async fn place(&self, downstream: &Downstream) -> Result<Permit, Refusal> {
        let slot = tokio::time::timeout(PATIENCE, self.in_flight.slot()).await;
        let slot = slot.map_err(|_| Refusal::Busy)?;
        self.in_flight
            .admit(slot, downstream.client.key())
            .ok_or(Refusal::TooManyRequests {
                retry_after: Duration::from_secs(1),
            })
    }

    /// Sends a request on to Laravel and its answer back; both bodies stream.
    async fn forward(
        &self,
        downstream: &Downstream,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let place = self.place(downstream).await?;
        let limit = self.settings.max_body.get();
        if request.body().size_hint().lower() > limit as u64 {
            return Err(Refusal::BodyTooLarge);
        }
        let (mut parts, body) = request.into_parts();
        hop::strip(&mut parts.headers);
        let log_out = self.gateway.log_out(&parts);
        // hyper has answered it already, and PHP's own server never does.
        parts.headers.remove(EXPECT);
        forwarded::strip(&mut parts.headers);
        forwarded::write(&mut parts.headers, downstream.client);
        if let Some(subject) = &downstream.subject {
            forwarded::write_subject(&mut parts.headers, subject.as_str());
        }
        let path = parts.uri.path().to_owned();
        let body = match body.is_end_stream() {
            true => body::empty(),
            false => limited(body, limit, downstream),
        };
        let request = Request::from_parts(parts, body);
        let answer = match log_out {
            Some(log_out) => log_out.send(self.upstream.clone(), request).await,
            None => self.upstream.send(request).await,
        };
        match answer {
            Ok(answer) => relay(answer, self.settings.stall_timeout.get(), place),
            Err(error) => {
                report(&error, &path);
                Err((&error).into())
            }
        }
    }
}

/// For how long a browser is to come over TLS alone (RFC 6797 §6.1).
fn lasting(hsts: Span) -> HeaderValue {
    let text = format!("max-age={}", hsts.get().as_secs());
    HeaderValue::try_from(text).expect("digits are visible ASCII")
}

fn limited(body: Incoming, limit: usize, downstream: &Downstream) -> Body {
    // A body whose length is known was checked; only one without is counted.
    let body = match body.size_hint().exact() {
        Some(_) => body::boxed(body),
        None => Limited::new(body, limit).boxed_unsync(),
    };
    // Trailers could say what headers may not.
    let body = body.map_frame(|frame| match frame.into_trailers() {
        Ok(mut trailers) => {
            hop::strip(&mut trailers);
            forwarded::strip(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    });
    Body::new(Ticking::new(Body::new(body), downstream.progress.clone()))
}

/// Laravel's answer without what concerned only the connection to it. PHP's own
/// server echoes `Host`.
fn relay(
    answer: Response<Incoming>,
    stall: Duration,
    place: Permit,
) -> Result<Response<Body>, Refusal> {
    let (mut parts, body) = answer.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        tracing::warn!("upstream switched protocols without being asked");
        return Err(Refusal::BadGateway);
    }
    // RFC 9112 §6.3: chunked wins over a length; RFC 9110 §8.6: a 204 has none.
    if parts.headers.contains_key(TRANSFER_ENCODING) || parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(CONTENT_LENGTH);
    }
    hop::strip(&mut parts.headers);
    parts.headers.remove(HOST);
    let body = Watched::new(body::boxed(body), stall, place);
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// Browsers split `Cookie` over HTTP/2, where it costs nothing; towards HTTP/1.1
/// it must be one again (RFC 9113 §8.2.3), or PHP reads the first alone.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(mut cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        cookie.set_sensitive(true);
        headers.insert(COOKIE, cookie);
    }
}

/// The one log line about a request that Laravel did not answer.
fn report(error: &upstream::Error, path: &str) {
    let cause = error.chain();
    match error {
        upstream::Error::TooLarge | upstream::Error::Client(_) => {
            tracing::info!(path, cause, "request not sent whole");
        }
        _ => tracing::warn!(path, cause, "no answer from upstream"),
    }
}

/// Makes sure that there is one `Host`, and that it is the one that the client
/// means: HTTP/2 and absolute-form targets carry it in the URI, where it must
/// not differ (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
fn settle_host<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Refusal::BadRequest("it has two Host headers")),
        (host, None) => host.cloned(),
    };
    let authority = request.uri().authority().map(Authority::as_str);
    let host = match (host, authority) {
        (None, None) => return Err(Refusal::BadRequest("it has no Host header")),
        (None, Some(authority)) => HeaderValue::try_from(authority).map_err(|_| BAD_HOST)?,
        (Some(host), None) => host,
        (Some(host), Some(authority)) => {
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) {
                return Err(Refusal::BadRequest("its Host and its target differ"));
            }
            host
        }
    };
    match host.to_str().ok().and_then(HostPort::parse) {
        Some(_) => {
            request.headers_mut().insert(HOST, host);
            Ok(())
        }
        None => Err(BAD_HOST),
    }
}

/// Headers of one request, over either protocol.
pub(super) const MAX_HEADERS: usize = 100;

/// How long a request waits for others to end.
const PATIENCE: Duration = Duration::from_secs(3);
const BAD_HOST: Refusal = Refusal::BadRequest("its Host is not a name and a port");

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(uri: &str, hosts: &[&str]) -> Result<String, Refusal> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        settle_host(&mut request)?;
        Ok(request.headers()[HOST].to_str().unwrap().to_owned())
    }

    #[test]
    fn one_host_is_settled() {
        assert_eq!(
            settle("/", &["desk.example:8443"]).unwrap(),
            "desk.example:8443"
        );
        assert_eq!(
            settle("https://desk.example/", &[]).unwrap(),
            "desk.example"
        );
        assert_eq!(
            settle("https://desk.example/", &["Desk.example"]).unwrap(),
            "Desk.example"
        );
        assert_eq!(settle("/", &["[::1]:80"]).unwrap(), "[::1]:80");
    }

    #[test]
    fn doubtful_hosts_are_refused() {
        for (uri, hosts) in [
            ("/", &[][..]),
            ("/", &["a", "a"]),
            ("/", &[""]),
            ("/", &["a b"]),
            ("/", &["user@a"]),
            ("/", &["a:0"]),
            ("/", &["a:99999"]),
            ("/", &["a/b"]),
            ("https://a/", &["b"]),
        ] {
            assert!(settle(uri, hosts).is_err(), "{uri} {hosts:?}");
        }
    }
}
