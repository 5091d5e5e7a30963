//! The Unix socket on which Laravel speaks to the edge: HTTP/1.1, JSON in and out.
//!
//! Framing, keep-alive and status codes come for free that way, `curl
//! --unix-socket` is the debugging tool, and PHP reaches it with one option.

mod api;
mod decode;
mod idempotency;
mod listen;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

pub use self::api::Api;
pub use self::decode::{Broadcast, Broadcasts, DecodeError, decode};
pub use self::listen::{ListenError, listen};
pub use self::settings::{Mode, Settings};
use crate::core::error_chain::error_chain;
use crate::runtime::activity::ActivityTracker;
use crate::runtime::drain::Drain;
use crate::runtime::watchdog::Heartbeat;

/// Serves the socket until the drain stops it. What has been read by then is
/// answered.
pub async fn serve(listener: UnixListener, api: Arc<Api>, drain: Drain, mut heartbeat: Heartbeat) {
    let slots = Arc::new(Semaphore::new(api.connections()));
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let accepted = tokio::select! {
            biased;
            () = drain.token().cancelled() => return heartbeat.deregister(),
            () = heartbeat.respond() => continue,
            accepted = async { (slot.await, listener.accept().await) } => accepted,
        };
        let (slot, stream) = match accepted {
            (Ok(slot), Ok((stream, _))) => (slot, stream),
            (_, Err(error)) => {
                tracing::error!(
                    name: "broadcast_accept_failed",
                    error = error_chain(&error),
                    "broadcast accept failed"
                );
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
            (Err(_), _) => return,
        };
        let api = Arc::clone(&api);
        let stop = drain.clone();
        drain.spawn(async move {
            let _slot = slot;
            connection(stream, api, stop).await;
        });
    }
}

async fn connection(stream: UnixStream, api: Arc<Api>, drain: Drain) {
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
    let activity = ActivityTracker::new();
    let moved = activity.clone();
    let service = service_fn(move |request| {
        let (api, in_flight) = (Arc::clone(&api), moved.begin_exchange());
        async move {
            let answer = api.respond(peer, request).await;
            drop(in_flight);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // A peer that asks but does not read holds nobody's place for ever.
        () = activity.idle_for(|_| IDLE_TIMEOUT) => return,
        () = drain.token().cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(STOP_BODY_TIMEOUT, connection).await {
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

/// How long a kept connection may rest: a PHP worker's next broadcast can be
/// minutes away, and a new connection costs it nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long what is being read at a stop may still take.
const STOP_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// A pause after a failed accept, so that running out of files does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
const MAX_HEADER_BYTES: usize = 16 * 1024;
