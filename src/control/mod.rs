//! The Unix socket on which Laravel sends requests to the edge: HTTP/1.1 with JSON bodies.
//!
//! HTTP provides framing, keep-alive and status codes. `curl --unix-socket` serves for
//! debugging, and PHP's HTTP clients need a single option.

mod api;
mod connections;
mod decode;
mod delivery_report;
mod failure;
mod idempotency;
mod listen;
mod publisher;
mod receipts;
mod request_body;
mod settings;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;

pub(crate) use self::api::Api;
use self::connections::{Connection, Connections};
pub use self::decode::Broadcasts;
pub use self::decode::decode;
pub(crate) use self::listen::{ControlListener, ListenError, listen};
pub(crate) use self::settings::Settings;
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;
use crate::runtime::hang_up::has_hung_up;
use crate::runtime::watchdog::Heartbeat;

/// Serves the socket until `drain` begins. Open connections then respond to the requests that
/// they have received, and close within 2 s. At the connection limit, an idle connection makes
/// room for the next, which waits until then.
///
/// Dropping the future stops accepting and removes the socket's file; connections are tasks of
/// `drain`.
pub(crate) async fn serve(
    listener: ControlListener<UnixListener>,
    api: Arc<Api>,
    drain: Drain,
    mut heartbeat: Heartbeat,
) {
    let (connections, start) = (Connections::new(api.connections()), Instant::now());
    let accept = || async {
        let stream = listener.accept().await?;
        Ok::<_, io::Error>((stream, connections.admit().await))
    };
    // Kept over the rounds: a connection that waits for its place is not lost.
    let mut accepting = pin!(accept());
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.token().cancelled() => return heartbeat.deregister(),
            () = heartbeat.respond() => continue,
            accepted = accepting.as_mut() => accepted,
        };
        accepting.set(accept());
        let (stream, connection) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(
                    name: "broadcast_accept_failed",
                    error = error_chain(&error),
                    "broadcast accept failed"
                );
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        // It may have waited for the start of this process, or for its place. A client that
        // gave up meanwhile, and sends its event again, must not reach the members twice.
        let has_waited = connection.has_waited || start.elapsed() < BACKLOG_TIME;
        if has_waited && has_hung_up(&stream) {
            tracing::debug!(
                name: "broadcast_client_gone",
                "broadcast client has given up"
            );
            continue;
        }
        let (api, stop) = (Arc::clone(&api), drain.clone());
        drain.spawn(async move { serve_connection(stream, connection, api, stop).await });
    }
}

async fn serve_connection(stream: UnixStream, connection: Connection, api: Arc<Api>, drain: Drain) {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer.uid(),
        Err(error) => {
            tracing::warn!(
                name: "broadcast_peer_unknown",
                error = error_chain(&error),
                "broadcast peer unknown"
            );
            return;
        }
    };
    let activity = &connection.activity;
    let service = service_fn(|request| {
        let (api, in_flight) = (Arc::clone(&api), activity.begin_exchange());
        async move {
            let answer = api.respond(peer, request).await;
            drop(in_flight);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = pin!(http);
    let stopping = async {
        tokio::select! {
            () = drain.token().cancelled() => {}
            () = connection.evicted.cancelled() => {}
        }
    };
    let ended = tokio::select! {
        ended = http.as_mut() => ended,
        // hyper has no timeout for writes: without this branch a client that never reads its
        // response would occupy a connection slot forever.
        () = activity.idle_for(|_| IDLE_TIMEOUT) => return,
        () = stopping => {
            // hyper would wait for the first request of a connection that has sent none.
            if connection.evicted.is_cancelled() && !activity.is_active() {
                return;
            }
            http.as_mut().graceful_shutdown();
            match tokio::time::timeout(STOP_BODY_TIMEOUT, http).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(
            name: "broadcast_connection_failed",
            error = error_chain(&error),
            uid = peer,
            "broadcast connection failed"
        );
    }
}

/// The time after which an idle connection is closed. A PHP worker's next broadcast may be
/// minutes away, and opening another connection is cheap.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The time after the start in which clients may have waited for this process.
const BACKLOG_TIME: Duration = Duration::from_secs(1);
/// The time within which [`serve`] and its connections end once their drain has begun.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// The time that a request in progress still has after the drain begins.
const STOP_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after a failed `accept`. Without it the loop would spin when the process has no
/// file descriptors left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// The maximum size of a connection's read buffer, and thus of a request's head.
const MAX_HEADER_BYTES: usize = 16 * 1024;
