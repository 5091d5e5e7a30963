//! Rejections: the reasons why the edge responds to a request itself, with their statuses,
//! headers, metric names, and texts for the visitor.

use std::time::Duration;

use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_VERSION,
};
use hyper::{Response, StatusCode};

use super::BadRequest;
use super::error_pages::{ErrorPage, ErrorPages};
use crate::core::body::{self, Body};
use crate::core::header_values::list_elements;
use crate::core::quality_value::parse_weight;
use crate::forwarded::RequestId;
use crate::limit::{LimitExceeded, Policy};
use crate::upstream;
use crate::ws::HandshakeRejection;

/// The reason why a request gets no response from its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The request is malformed or ambiguous.
    BadRequest(BadRequest),
    /// The method is `CONNECT` or `TRACE`, which the edge does not support.
    Method,
    /// The route serves files, and the method is neither `GET` nor `HEAD`.
    ReadOnly,
    /// The route serves files only, and none matches.
    FileNotFound,
    /// The user of the edge must not read the file.
    FileForbidden,
    /// A file exists but cannot be read at the moment.
    Unreadable,
    /// Maintenance mode is on.
    Maintenance,
    /// The request has too many headers.
    HeadTooLarge,
    /// The request's head did not arrive in time.
    HeadTooSlow,
    /// The path and query are too long.
    TargetTooLong,
    /// The route itself rejects the request, with 403 or 404.
    Route(StatusCode),
    /// The route requires a client certificate, and the client has shown none.
    NoCertificate,
    /// The request body is larger than allowed.
    BodyTooLarge,
    /// The client has exceeded a limit.
    Over(LimitExceeded),
    /// The request body is below its minimum rate.
    TooSlow,
    /// A WebSocket handshake has failed.
    WebSocket(HandshakeRejection),
    /// The edge is overloaded and accepts no more sessions.
    Full,
    /// No permit for a request in flight, an open file or an upstream connection became
    /// free in time.
    Busy,
    /// No upstream server accepts connections; nothing was sent.
    Unreachable,
    /// The upstream closed the connection or sent an invalid response.
    BadGateway,
    /// The upstream did not respond in time.
    GatewayTimeout,
}

impl Rejection {
    /// Returns the status of the response (RFC 9110 §15).
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::WebSocket(HandshakeRejection::Malformed(_)) => {
                StatusCode::BAD_REQUEST
            }
            Self::WebSocket(HandshakeRejection::Origin | HandshakeRejection::CookieOrigin) => {
                StatusCode::FORBIDDEN
            }
            Self::WebSocket(HandshakeRejection::Version) => StatusCode::UPGRADE_REQUIRED,
            Self::WebSocket(HandshakeRejection::Stopping)
            | Self::Full
            | Self::Busy
            | Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreadable | Self::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
            Self::Method | Self::ReadOnly => StatusCode::METHOD_NOT_ALLOWED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Route(status) => status,
            Self::FileNotFound => StatusCode::NOT_FOUND,
            Self::NoCertificate | Self::FileForbidden => StatusCode::FORBIDDEN,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Over(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooSlow | Self::HeadTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::GatewayTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Returns the code in the log and the metrics.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BadRequest(reason) => reason.code(),
            Self::Method | Self::ReadOnly => "method_not_allowed",
            Self::FileNotFound => "file_not_found",
            Self::FileForbidden => "file_forbidden",
            Self::Unreadable => "file_unreadable",
            Self::Maintenance => "maintenance",
            Self::HeadTooLarge => "headers_too_large",
            Self::HeadTooSlow => "headers_too_slow",
            Self::TargetTooLong => "uri_too_long",
            Self::Route(_) => "route_status",
            Self::NoCertificate => "client_certificate_required",
            Self::BodyTooLarge => "body_too_large",
            Self::Over(over) => over.limit.name(),
            Self::TooSlow => "body_too_slow",
            Self::WebSocket(HandshakeRejection::Malformed(_)) => "websocket_handshake_invalid",
            Self::WebSocket(HandshakeRejection::Version) => "websocket_version_unsupported",
            Self::WebSocket(HandshakeRejection::Origin) => "websocket_origin_denied",
            Self::WebSocket(HandshakeRejection::CookieOrigin) => "websocket_cookie_origin_denied",
            Self::WebSocket(HandshakeRejection::Stopping) => "draining",
            Self::Full => "overloaded",
            Self::Busy => "capacity_exhausted",
            Self::Unreachable => "upstream_unreachable",
            Self::BadGateway => "bad_gateway",
            Self::GatewayTimeout => "gateway_timeout",
        }
    }

    /// Returns the text for the visitor.
    pub(super) fn message(self) -> String {
        match self {
            Self::BadRequest(reason) => format!("The request was not understood: {reason}."),
            Self::WebSocket(rejected) => format!("{rejected}."),
            Self::Maintenance => {
                "The service is closed for maintenance. Try again in a while.".to_owned()
            }
            Self::Method | Self::ReadOnly => "This method is not allowed here.".to_owned(),
            Self::TargetTooLong => "The address is too long.".to_owned(),
            Self::Route(StatusCode::FORBIDDEN) | Self::FileForbidden => {
                "You may not see this.".to_owned()
            }
            Self::Route(_) | Self::FileNotFound => "There is nothing here.".to_owned(),
            Self::NoCertificate => {
                "This needs a client certificate, and your browser showed none.".to_owned()
            }
            Self::HeadTooLarge => "The request has too many headers.".to_owned(),
            Self::BodyTooLarge => "What you sent is too large.".to_owned(),
            Self::TooSlow | Self::HeadTooSlow => "What you sent came too slowly.".to_owned(),
            Self::Over(_) => {
                "There were too many requests from your address. Wait a moment, then try again."
                    .to_owned()
            }
            Self::Full
            | Self::Busy
            | Self::Unreachable
            | Self::Unreadable
            | Self::BadGateway
            | Self::GatewayTimeout => {
                "The service does not respond just now. Try again in a moment.".to_owned()
            }
        }
    }

    /// Returns whether an HTTP/1.1 connection must be closed, because the bytes that follow
    /// may be a part of this request (RFC 9112 §11.2).
    pub(super) fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::Method
                | Self::HeadTooLarge
                | Self::HeadTooSlow
                | Self::TargetTooLong
                | Self::BodyTooLarge
                | Self::TooSlow
        )
    }

    /// Returns the response, as JSON or HTML.
    pub(super) fn response(
        self,
        pages: &ErrorPages,
        request_id: &RequestId,
        as_json: bool,
    ) -> Response<Body> {
        let page = ErrorPage {
            status: self.status(),
            message: &self.message(),
            request_id,
        };
        let (kind, text) = pages.render(page, as_json);
        let mut response = Response::new(body::full(text));
        *response.status_mut() = page.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
            }
            Self::ReadOnly => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::Maintenance => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
            }
            Self::Over(over) => add_rate_limit_headers(headers, over),
            Self::WebSocket(HandshakeRejection::Stopping)
            | Self::Full
            | Self::Busy
            | Self::Unreadable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Self::Unreachable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            Self::WebSocket(HandshakeRejection::Version) => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            _ => {}
        }
        response
    }
}

impl From<&upstream::Error> for Rejection {
    fn from(error: &upstream::Error) -> Self {
        use upstream::Error;
        match error {
            Error::Connect { .. } | Error::ConnectTimeout(_) | Error::Closed { .. } => {
                Self::Unreachable
            }
            Error::Protocol { .. } => Self::BadGateway,
            Error::ResponseTimeout { .. } => Self::GatewayTimeout,
            Error::TooLarge => Self::BodyTooLarge,
            Error::TooSlow => Self::TooSlow,
            Error::Client(_) => Self::BadRequest(BadRequest::BodyAborted),
            Error::Overloaded(_) => Self::Unreachable,
            Error::Spool(_) | Error::Busy => Self::Busy,
        }
    }
}

/// Returns whether the client prefers JSON, by the rules of Laravel's `expectsJson`: the media
/// type in `Accept` with the highest weight decides, and the first one of several. If that is
/// any type, as with `fetch` and `XMLHttpRequest`, a script has sent the request if it has
/// `X-Requested-With` or a body of JSON.
pub(super) fn prefers_json(headers: &HeaderMap) -> bool {
    let mut preferred = ("*/*", 0);
    for offer in list_elements(headers, &ACCEPT) {
        let mut parts = offer.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let weight = parse_weight(parts);
        if weight > preferred.1 {
            preferred = (media_type, weight);
        }
    }
    if preferred.0 != "*/*" {
        return is_json(preferred.0);
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_script = |with: &str| with.eq_ignore_ascii_case("XMLHttpRequest");
    text(X_REQUESTED_WITH).is_some_and(is_script) || text(CONTENT_TYPE).is_some_and(is_json)
}

/// Returns whether `media_type` is JSON, by the rule of Laravel's `isJson`.
fn is_json(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    media_type.contains("/json") || media_type.contains("+json")
}

/// Adds `Retry-After`, and for a rate also `RateLimit-Policy` and `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers-10 §3, §4).
fn add_rate_limit_headers(headers: &mut HeaderMap, over: LimitExceeded) {
    let wait = round_up_to_seconds(over.retry_after);
    let name = over.limit.name();
    if let Some(policy) = over.policy {
        let Policy { count, seconds } = policy;
        let policy = HeaderValue::try_from(format!("\"{name}\";q={count};w={seconds}"));
        let left = HeaderValue::try_from(format!("\"{name}\";r=0;t={wait}"));
        headers.extend([
            (
                RATE_LIMIT_POLICY,
                policy.expect("names and numbers are visible ASCII"),
            ),
            (
                RATE_LIMIT,
                left.expect("names and numbers are visible ASCII"),
            ),
        ]);
    }
    headers.insert(RETRY_AFTER, HeaderValue::from(wait));
}

/// Returns `wait` in whole seconds, rounded up, so that a client that retries then is not
/// rejected again.
fn round_up_to_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Limit;

    #[test]
    fn retry_after_is_rounded_up() {
        let over = LimitExceeded::new(Limit::MaxSessionsPerClient, Duration::from_millis(1100));
        let rejection = Rejection::Over(over);
        let response = rejection.response(&ErrorPages::default(), &RequestId::new(), true);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
    }

    #[test]
    fn client_that_accepts_json_first_gets_json() {
        let accept = |value| HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]);
        assert!(prefers_json(&accept("application/json, text/plain, */*")));
        assert!(prefers_json(&accept("application/problem+json")));
        assert!(prefers_json(&accept("text/html;q=0.8, Application/JSON")));
        assert!(!prefers_json(&accept("text/html,application/json")));
        assert!(!prefers_json(&accept("application/json;q=0")));
        assert!(!prefers_json(&HeaderMap::new()));
        let mut lines = accept("text/html;q=0.5");
        lines.append(ACCEPT, HeaderValue::from_static("application/json"));
        assert!(prefers_json(&lines));
    }

    #[test]
    fn script_that_accepts_anything_gets_json() {
        let headers = |pairs: &[(HeaderName, &'static str)]| {
            let pairs = pairs.iter().cloned();
            let values = pairs.map(|(name, value)| (name, HeaderValue::from_static(value)));
            values.collect::<HeaderMap>()
        };
        for (name, value, is_script) in [
            (CONTENT_TYPE, "application/json", true),
            (
                CONTENT_TYPE,
                "application/vnd.api+json; charset=utf-8",
                true,
            ),
            (X_REQUESTED_WITH, "XMLHttpRequest", true),
            (CONTENT_TYPE, "application/x-www-form-urlencoded", false),
            // A WebView sends the name of its app.
            (X_REQUESTED_WITH, "org.example.app", false),
        ] {
            for (accept, is_any) in [
                (Some("*/*"), true),
                (Some("*/*, text/html"), true),
                (Some("*/*;q=0.8, text/html"), false),
                (None, true),
                (Some("text/html, */*"), false),
            ] {
                let mut headers = headers(&[(name.clone(), value)]);
                if let Some(accept) = accept {
                    headers.insert(ACCEPT, HeaderValue::from_static(accept));
                }
                let prefers = prefers_json(&headers);
                assert_eq!(prefers, is_script && is_any, "{value} {accept:?}");
            }
        }
    }
}
