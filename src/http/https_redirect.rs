//! Plain HTTP. The port for it (80) redirects every request to https and responds to ACME
//! HTTP-01 challenges. A TLS port rejects it and names the https address.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::lingering_close::close_lingering;
use crate::core::error_chain::error_chain;
use crate::core::host_port::{DEFAULT_HOST, HostPort};
use crate::tls::Challenges;

/// Serves connections without TLS.
#[derive(Debug)]
pub(crate) struct HttpsRedirect {
    challenges: Arc<Challenges>,
    https_port: u16,
    timeout: Duration,
}

impl HttpsRedirect {
    /// Creates the redirect to `https_port`. A client has `timeout` to send its request
    /// head, and a connection lasts at most twice as long.
    pub(crate) fn new(challenges: Arc<Challenges>, https_port: u16, timeout: Duration) -> Self {
        Self {
            challenges,
            https_port,
            timeout,
        }
    }

    /// Serves one request over `io` and closes the connection. Dropping the future closes
    /// it at once.
    pub(crate) async fn serve<S>(&self, io: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        serve_one_request(io, self.timeout, |request| self.respond(request)).await;
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if let Some(token) = path.strip_prefix("/.well-known/acme-challenge/") {
            return match self.challenges.http_response(token) {
                Some(proof) => text_response(StatusCode::OK, proof),
                None => text_response(StatusCode::NOT_FOUND, "no such challenge\n".to_owned()),
            };
        }
        let host = requested_host(request).or_else(|| default_host(request));
        let Some(host) = host.and_then(HostPort::parse) else {
            return text_response(
                StatusCode::BAD_REQUEST,
                "the request has no valid Host header\n".to_owned(),
            );
        };
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let location = redirect_location(&host.host, self.https_port, target);
        let Ok(location) = HeaderValue::try_from(&location) else {
            return text_response(
                StatusCode::BAD_REQUEST,
                "the request is not valid\n".to_owned(),
            );
        };
        let mut response = text_response(StatusCode::PERMANENT_REDIRECT, String::new());
        response.headers_mut().insert(LOCATION, location);
        response
    }
}

/// Responds to one request that came in plain to a TLS port: 400, as nginx's 497. A client has
/// `timeout` to send its request head.
pub(crate) async fn reject_plain_http<S>(io: S, timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_one_request(io, timeout, |request| {
        // The client has reached this port by this name, so the address keeps both.
        let host = requested_host(request).filter(|host| HostPort::is_valid(host));
        let cure = host.map_or_else(String::new, |host| format!(": https://{host}/"));
        let text = format!("This port accepts only HTTPS. Use the https address{cure}\n");
        text_response(StatusCode::BAD_REQUEST, text)
    })
    .await;
}

/// Serves one request over `io` and closes the connection, within twice `timeout`.
async fn serve_one_request<S>(
    io: S,
    timeout: Duration,
    respond: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let response = respond(&request);
        async { Ok::<_, Infallible>(response) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service);
    let served = async move {
        let result = Pin::new(&mut connection).await;
        // A body may still be on its way.
        let mut parts = connection.into_parts();
        close_lingering(parts.io.inner_mut()).await;
        result
    };
    match tokio::time::timeout(2 * timeout, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(
                name: "redirect_connection_failed",
                error = error_chain(&error),
                "redirect connection failed"
            )
        }
        Err(_) => tracing::debug!(
            name: "redirect_connection_timed_out",
            "redirect connection timed out"
        ),
    }
}

/// Returns the host that `request` names.
fn requested_host(request: &Request<Incoming>) -> Option<&str> {
    let authority = request.uri().authority().map(Authority::as_str);
    let header = request.headers().get(HOST);
    authority.or_else(|| header.and_then(|host| host.to_str().ok()))
}

/// Returns the host of a request that need not name one: only HTTP/1.1 requires it (RFC 9112
/// §3.2).
fn default_host(request: &Request<Incoming>) -> Option<&'static str> {
    let is_old = request.version() < Version::HTTP_11;
    (is_old && !request.headers().contains_key(HOST)).then_some(DEFAULT_HOST)
}

fn redirect_location(host: &str, port: u16, target: &str) -> String {
    // `OPTIONS *` has no path; it is redirected to the root.
    let target = if target.starts_with('/') { target } else { "/" };
    match port {
        443 => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    }
}

fn text_response(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

const MAX_HEADER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_keeps_path_and_query() {
        assert_eq!(redirect_location("a", 443, "/b?c=d"), "https://a/b?c=d");
        assert_eq!(redirect_location("[::1]", 8443, "/"), "https://[::1]:8443/");
        assert_eq!(redirect_location("a", 443, "*"), "https://a/");
    }
}
