//! The accept loop, and everything that comes before HTTP on a connection: the PROXY header,
//! connection limits, and the TLS handshake.
//!
//! Order of what a connection acquires: a slot of `limits.max_connections` before `accept`, then
//! its client's permit, then a handshake's. A connection that has to wait holds only what
//! comes earlier, and the handshake permit is released when the handshake is done.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::Running;
use super::frontend::{Frontend, FrontendKind};
use super::generation::Generation;
use super::process::Process;
use crate::core::client_ip::ClientIp;
use crate::core::error_chain::error_chain;
use crate::core::units::PositiveCount;
use crate::forwarded;
use crate::http::{self, Downstream};
use crate::limit::{ConcurrencyLimit, Limit, LimitExceeded, Permit, Slot};
use crate::runtime::activity::ActivityTracker;
use crate::runtime::drain::Drain;
use crate::runtime::watchdog::Heartbeat;
use crate::tls::{self, HandshakeError, Secured};

/// Accepts connections from `listener` until the process stops, and spawns a task for each.
/// `number` is the index of the listener's frontend. While no slot is free, or too much memory
/// is in use, it accepts nothing: further connections wait in the kernel's backlog.
pub(super) async fn accept(
    running: Arc<Running>,
    listener: TcpListener,
    number: usize,
    mut heartbeat: Heartbeat,
) {
    let process = &running.process;
    let mut last_log = None;
    loop {
        let accepted = tokio::select! {
            // Connections that arrive after a stop stay in the backlog for the next process
            // that listens on the socket. The heartbeat comes before accepting, so that a
            // flood of connections cannot starve it.
            biased;
            () = process.drain.token().cancelled() => return heartbeat.deregister(),
            () = heartbeat.respond() => continue,
            // All three steps are cancel-safe. A slot that was acquired is freed if the
            // branch is dropped.
            accepted = async { wait_while_overloaded(process).await; (process.connections.acquire_slot().await, listener.accept().await) } => accepted,
        };
        let (slot, stream, peer) = match accepted {
            (slot, Ok((stream, peer))) => (slot, stream, peer),
            (_, Err(error)) => {
                back_off(&error, &mut last_log).await;
                continue;
            }
        };
        process.metrics.server.count_accepted();
        let conn = IncomingConn {
            running: Arc::clone(&running),
            generation: running.current.load_full(),
        };
        process.drain.spawn(conn.serve(stream, number, peer, slot));
    }
}

/// An accepted connection, and the configuration that it keeps until its end.
struct IncomingConn {
    running: Arc<Running>,
    generation: Arc<Generation>,
}

impl IncomingConn {
    /// Prepares the connection and serves HTTP on it until it ends.
    async fn serve(self, stream: TcpStream, number: usize, peer: SocketAddr, slot: Slot) {
        let Some(frontend) = self.generation.frontends.get(number).cloned() else {
            return;
        };
        let drain = self.running.process.drain.clone();
        let prepared = tokio::select! {
            // Boxed, so that its memory is freed before the long part of the connection.
            prepared = Box::pin(self.prepare(stream, frontend, peer, slot)) => prepared,
            () = shutdown_deadline(&drain) => return,
        };
        let Some((secured, downstream)) = prepared else {
            return;
        };
        http::serve(
            secured.io,
            &self.generation.config.http,
            Arc::clone(&self.generation.pipeline),
            Arc::new(downstream),
            self.generation.drain.token().clone(),
            drain,
        )
        .await;
    }

    /// Does everything that comes before HTTP. Returns `None` if the connection has ended
    /// there, or was served as plain HTTP.
    async fn prepare(
        &self,
        stream: TcpStream,
        frontend: Frontend,
        peer: SocketAddr,
        slot: Slot,
    ) -> Option<(Secured<TcpStream>, Downstream)> {
        let ip = ClientIp::new(peer.ip());
        let port = (!frontend.proxied).then_some(peer.port());
        let (stream, client, permit) = self.admit(stream, frontend.proxied, ip, slot).await?;
        let client = (client.unwrap_or(ip), port, client.is_none());
        match frontend.kind {
            FrontendKind::Tls(tls) => self.secure(stream, tls, client, permit).await,
            FrontendKind::Plain(plain) => {
                plain.serve(stream).await;
                None
            }
        }
    }

    /// Determines the client and turns `slot` into its permit. Returns `None` for the whole
    /// if the connection is rejected, and no client if the proxy's header names none.
    ///
    /// A trusted proxy without a PROXY header connects for many clients. Its connections are
    /// not limited; the clients' requests are.
    async fn admit(
        &self,
        mut stream: TcpStream,
        proxied: bool,
        peer: ClientIp,
        slot: Slot,
    ) -> Option<(TcpStream, Option<ClientIp>, Permit)> {
        let trusted = self.generation.config.server.trusted_proxies.trusts(peer);
        if !proxied && trusted {
            let permit = self.running.process.connections.admit_unlimited(slot);
            return Some((stream, Some(peer), permit));
        }
        let client = if !proxied {
            peer
        } else if !trusted {
            tracing::debug!(
                name: "untrusted_proxy_closed",
                { client.ip = %peer },
                "untrusted proxy connection closed"
            );
            return None;
        } else {
            match self.read_proxy_header(&mut stream).await {
                Ok(Some(client)) => client,
                Ok(None) => {
                    return Some((
                        stream,
                        None,
                        self.running.process.connections.admit_unlimited(slot),
                    ));
                }
                Err(error) => {
                    tracing::warn!(
                        name: "proxy_header_invalid",
                        { proxy.ip = %peer, error = error_chain(&error) },
                        "PROXY header missing or invalid"
                    );
                    return None;
                }
            }
        };
        let limits = self.generation.limits();
        let connections = &self.running.process.connections;
        let most = limits.settings().max_connections_per_client;
        let admission = limits.check_connection(client).and_then(|()| {
            self.acquire_permit(
                connections,
                slot,
                client,
                Limit::MaxConnectionsPerClient,
                most,
            )
        });
        match admission {
            Ok(permit) => Some((stream, Some(client), permit)),
            Err(exceeded) => {
                self.count_rejection(exceeded);
                None
            }
        }
    }

    /// Turns `slot` into a permit of `client`, which may have `max` of them.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] if the client has `max` permits already, unless the limits
    /// are only observed (`dry_run`).
    fn acquire_permit(
        &self,
        permits: &ConcurrencyLimit,
        slot: Slot,
        client: ClientIp,
        limit: Limit,
        max: PositiveCount,
    ) -> Result<Permit, LimitExceeded> {
        let limits = self.generation.limits();
        let Some(keys) = limits.keys(client) else {
            return Ok(permits.admit_unlimited(slot));
        };
        permits.admit(slot, keys, max).or_else(|slot| {
            limits.report_exceeded(client, LimitExceeded::new(limit, Duration::from_secs(1)))?;
            Ok(permits.admit_unlimited(slot))
        })
    }

    fn count_rejection(&self, exceeded: LimitExceeded) {
        let metrics = &self.running.process.metrics.server;
        metrics.count_rejection(exceeded.limit.name());
    }

    /// Waits for the permit to do a handshake, for at most `tls.handshake_timeout`. Clients
    /// are served in turn. Returns `None` if the connection is rejected.
    ///
    /// The client's share is acquired before the slot, so that the handshakes that wait count
    /// against it, too.
    async fn acquire_handshake(&self, client: ClientIp) -> Option<Permit> {
        let (limits, handshakes) = (self.generation.limits(), &self.running.process.handshakes);
        let trusted = self.generation.config.server.trusted_proxies.trusts(client);
        let keys = limits.keys(client).filter(|_| !trusted);
        let most = limits.settings().max_handshakes_per_client;
        let over = LimitExceeded::new(Limit::MaxHandshakesPerClient, Duration::from_secs(1));
        let share = limits
            .acquire_share(client, keys, over, |keys| handshakes.share(keys, most))
            .inspect_err(|exceeded| self.count_rejection(*exceeded))
            .ok()?;
        let timeout = self.generation.config.tls.handshake_timeout.get();
        let Some(slot) = handshakes.acquire_slot_within(timeout, keys).await else {
            let metrics = &self.running.process.metrics.server;
            metrics.count_rejection("max_handshakes");
            return None;
        };
        Some(handshakes.permit(share, slot))
    }

    /// Reads the PROXY header within `tls.handshake_timeout`. Returns `None` if it names no
    /// client, as in the proxy's own health checks.
    ///
    /// # Errors
    /// Returns `TimedOut`, or the error of [`forwarded::read_proxy_header`].
    async fn read_proxy_header(&self, stream: &mut TcpStream) -> io::Result<Option<ClientIp>> {
        let timeout = self.generation.config.tls.handshake_timeout.get();
        tokio::time::timeout(timeout, forwarded::read_proxy_header(stream))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Performs the TLS handshake. Returns `None` if it fails or is rejected.
    async fn secure(
        &self,
        stream: TcpStream,
        tls: tls::Acceptor,
        (peer, port, is_unnamed): (ClientIp, Option<u16>, bool),
        permit: Permit,
    ) -> Option<(Secured<TcpStream>, Downstream)> {
        let metrics = &self.running.process.metrics.server;
        // Without Nagle's algorithm, which would delay small WebSocket frames. This fails only
        // on a socket that is closed already, and then the handshake fails, too.
        let _ = stream.set_nodelay(true);
        let handshake_permit = self.acquire_handshake(peer).await?;
        let timeout = self.generation.config.tls.handshake_timeout.get();
        let handshake = match tokio::time::timeout(timeout, begins_with_http(&stream)).await {
            Ok(true) => {
                drop(handshake_permit);
                metrics.count_handshake("plain_http");
                http::reject_plain_http(stream, timeout).await;
                return None;
            }
            Ok(false) => tls.handshake(stream).await,
            Err(_) => Err(HandshakeError::Timeout),
        };
        let mut secured = match handshake {
            Ok(secured) => secured,
            Err(error) => {
                metrics.count_handshake(error.name());
                tracing::debug!(
                    name: "tls_handshake_failed",
                    { client.ip = %peer, reason = error.name(), error = error_chain(&error) },
                    "TLS handshake failed"
                );
                return None;
            }
        };
        drop(handshake_permit);
        metrics.count_handshake("ok");
        let downstream = Downstream {
            peer,
            is_unnamed,
            alpn: secured.alpn,
            port,
            subject: secured.client.take(),
            permit: Arc::new(permit),
            activity: ActivityTracker::new(),
            rejections: Arc::default(),
        };
        Some((secured, downstream))
    }
}

/// Returns whether the first byte from the client is that of an HTTP request: a letter, where
/// TLS begins with the type of a record. Waits for the byte and leaves it to the next read.
async fn begins_with_http(stream: &TcpStream) -> bool {
    let mut first = [0];
    // An error is left to the next read, too.
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase()
}

/// Delays accepting while too much memory is in use. A few connections still come in, so that
/// the edge can be inspected.
async fn wait_while_overloaded(process: &Process) {
    if process.load.is_overloaded() {
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}

/// Completes [`HANDSHAKE_STOP_TIMEOUT`] after a stop. A client that was accepted just before
/// the stop is about to send its request, and may not retry it.
async fn shutdown_deadline(drain: &Drain) {
    drain.token().cancelled().await;
    tokio::time::sleep(HANDSHAKE_STOP_TIMEOUT).await;
}

/// Pauses after an error of `accept` and logs it, at most every [`LOG_INTERVAL`]. A client
/// that left before it was accepted needs neither. A lack of file descriptors or memory does
/// not pass by retrying at once.
async fn back_off(error: &io::Error, last_log: &mut Option<Instant>) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) {
        return;
    }
    if last_log.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
        *last_log = Some(Instant::now());
        tracing::error!(
            name: "accept_failed",
            error = error_chain(&error),
            "accepting a connection failed"
        );
    }
    tokio::time::sleep(ACCEPT_BACKOFF).await;
}

/// The minimum interval between two log events about failed accepts.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after a failed accept, and between two accepts under memory pressure.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// The time that a handshake may still take after a stop.
const HANDSHAKE_STOP_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// EMFILE and the like do not pass by trying at once (accept(2)).
    #[tokio::test(start_paused = true)]
    async fn accept_without_free_files_pauses_and_logs_rarely() {
        let none_left = io::Error::from_raw_os_error(24);
        let (mut last_log, start) = (None, Instant::now());
        for _ in 0..200 {
            back_off(&none_left, &mut last_log).await;
        }
        assert_eq!(start.elapsed(), 200 * ACCEPT_BACKOFF);
        assert_eq!(last_log.unwrap() - start, LOG_INTERVAL);
        let gone = io::ErrorKind::ConnectionAborted.into();
        back_off(&gone, &mut last_log).await;
        assert_eq!(start.elapsed(), 200 * ACCEPT_BACKOFF);
    }
}
