//! The admin listener for monitoring: `/metrics`, `/healthz` and `/readyz`, all read-only. It
//! serves until the end of a shutdown, so that a load balancer can see that the edge drains.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Running;
use crate::core::error_chain::error_chain;
use crate::introspection::{Introspection, TextFormat};
use crate::runtime::watchdog::Heartbeat;

/// Serves `listener` forever. Dropping the future stops accepting; connections are tasks of
/// the drain.
pub(super) async fn serve(
    listener: TcpListener,
    running: Arc<Running>,
    mut heartbeat: Heartbeat,
) -> Infallible {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let accepted = tokio::select! {
            biased;
            () = heartbeat.respond() => continue,
            accepted = async { (slot.await, listener.accept().await) } => accepted,
        };
        let (slot, stream) = match accepted {
            (slot, Ok((stream, _))) => (slot, stream),
            (_, Err(error)) => {
                tracing::warn!(
                    name: "admin_accept_failed",
                    error = error_chain(&error),
                    "admin accept failed"
                );
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let running = Arc::clone(&running);
        running.process.drain.clone().spawn(async move {
            let _slot = slot;
            let serving = connection(stream, &running);
            if tokio::time::timeout(CONNECTION_TIMEOUT, serving)
                .await
                .is_err()
            {
                tracing::debug!(
                    name: "admin_connection_timed_out",
                    "admin connection timed out"
                );
            }
        });
    }
}

async fn connection(stream: TcpStream, running: &Running) {
    let service = service_fn(|request: Request<_>| async move {
        Ok::<_, Infallible>(respond(&request, &running.current.load().introspection))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        // One request per connection: an idle connection would delay a shutdown.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(
            name: "admin_connection_failed",
            error = error_chain(&error),
            "admin connection failed"
        );
    }
}

fn respond<B>(request: &Request<B>, introspection: &Introspection) -> Response<Full<Bytes>> {
    let allow = |mut response: Response<_>| {
        let methods = HeaderValue::from_static("GET, HEAD, OPTIONS");
        response.headers_mut().insert(ALLOW, methods);
        response
    };
    // HAProxy's `option httpchk` sends `OPTIONS /` unless told otherwise, and takes the
    // status as the health.
    if request.method() == Method::OPTIONS {
        let path = match request.uri().path() {
            "/" | "*" => "/readyz",
            path => path,
        };
        let status = respond_to_path(path, request.headers(), introspection).status();
        return allow(reply(status, TEXT, String::new()));
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let text = "expected GET\n".to_owned();
        return allow(reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, text));
    }
    respond_to_path(request.uri().path(), request.headers(), introspection)
}

fn respond_to_path(
    path: &str,
    headers: &HeaderMap,
    introspection: &Introspection,
) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => {
            let format = TextFormat::negotiate(headers);
            let text = format.encode(&introspection.metrics);
            reply(StatusCode::OK, format.content_type(), text)
        }
        "/healthz" => reply(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => match introspection.reasons_not_ready() {
            reasons if reasons.is_empty() => reply(StatusCode::OK, TEXT, "ready\n".to_owned()),
            reasons => {
                let text = format!("{}\n", reasons.join("\n"));
                reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
            }
        },
        _ => {
            let text = "expected /metrics, /healthz or /readyz\n".to_owned();
            reply(StatusCode::NOT_FOUND, TEXT, text)
        }
    }
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
/// The maximum number of connections on one listener; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 32;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The time within which a connection must end.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
const MAX_HEADER_BYTES: usize = 16 * 1024;
