//! From a listening socket to connection tasks.

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
use crate::core::client::ClientIp;
use crate::core::error_chain::error_chain;
use crate::core::units::PositiveCount;
use crate::forwarded;
use crate::http::{self, Downstream};
use crate::limit::{ConcurrencyLimit, Limit, LimitExceeded, Permit, Slot};
use crate::runtime::activity::ActivityTracker;
use crate::runtime::drain::Drain;
use crate::runtime::watchdog::Heartbeat;
use crate::tls::{self, Secured};

/// Accepts from `listener`, the number of which is `number`, until the process
/// stops. While there is no room for one more, nothing is accepted: the rest
/// waits in the kernel.
pub(super) async fn accept(
    running: Arc<Running>,
    listener: TcpListener,
    number: usize,
    mut heartbeat: Heartbeat,
) {
    let process = &running.process;
    let mut told = None;
    loop {
        let accepted = tokio::select! {
            // What comes after a stop is left for whoever listens next.
            biased;
            () = process.drain.token().cancelled() => return heartbeat.deregister(),
            () = heartbeat.respond() => continue,
            accepted = async { wait_while_overloaded(process).await; (process.connections.acquire_slot().await, listener.accept().await) } => accepted,
        };
        let (slot, stream, peer) = match accepted {
            (slot, Ok((stream, peer))) => (slot, stream, peer),
            (_, Err(error)) => {
                back_off(&error, &mut told).await;
                continue;
            }
        };
        process.metrics.connections.add(1);
        let arrival = IncomingConn {
            running: Arc::clone(&running),
            generation: running.current.load_full(),
        };
        process
            .drain
            .spawn(arrival.serve(stream, number, peer, slot));
    }
}

/// A connection that was accepted, and the configuration it is served by.
struct IncomingConn {
    running: Arc<Running>,
    generation: Arc<Generation>,
}

impl IncomingConn {
    async fn serve(self, stream: TcpStream, number: usize, peer: SocketAddr, slot: Slot) {
        let Some(frontend) = self.generation.entrances.get(number).cloned() else {
            return;
        };
        let drain = self.running.process.drain.clone();
        let arrived = tokio::select! {
            // In a box, of which nothing is left while the connection lives.
            arrived = Box::pin(self.prepare(stream, frontend, peer, slot)) => arrived,
            () = shutdown_deadline(&drain) => return,
        };
        let Some((secured, downstream)) = arrived else {
            return;
        };
        http::serve(
            secured.io,
            secured.alpn,
            Arc::clone(&self.generation.handler),
            Arc::new(downstream),
            self.generation.drain.token().clone(),
            drain,
        )
        .await;
    }

    /// All that comes before the site: `None` if it ended there.
    async fn prepare(
        &self,
        stream: TcpStream,
        frontend: Frontend,
        peer: SocketAddr,
        slot: Slot,
    ) -> Option<(Secured<TcpStream>, Downstream)> {
        let ip = ClientIp::new(peer.ip());
        let port = (!frontend.proxied).then_some(peer.port());
        let admitted = self.admit(stream, frontend.proxied, ip, slot).await;
        let (stream, named, permit) = admitted?;
        let peer = (named.unwrap_or(ip), port, named.is_none());
        match frontend.kind {
            FrontendKind::Tls(tls) => self.secure(stream, tls, peer, permit).await,
            FrontendKind::Plain(plain) => {
                plain.serve(stream).await;
                None
            }
        }
    }

    /// Finds out who connects, and gives him `acquire_slot` if he has not too many. A
    /// proxy of ours connects for many clients, who are counted by request. There is
    /// no client if the proxy names none.
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
        let client = match proxied {
            false => peer,
            true if !trusted => {
                tracing::debug!(
                    name: "untrusted_proxy_closed",
                    { client.ip = %peer },
                    "untrusted proxy connection closed"
                );
                return None;
            }
            true => match self.read_proxy_header(&mut stream).await {
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
            },
        };
        let limits = &self.generation.limits;
        let places = &self.running.process.connections;
        let most = limits.settings().connections_per_client;
        let admitted = limits.check_connection(client).and_then(|()| {
            self.acquire_permit(places, slot, client, Limit::ConnectionsPerClient, most)
        });
        match admitted {
            Ok(permit) => Some((stream, Some(client), permit)),
            Err(over) => {
                self.count_rejection(over);
                None
            }
        }
    }

    /// Gives `acquire_slot` to `client` if it has not `most` of them already.
    fn acquire_permit(
        &self,
        places: &ConcurrencyLimit,
        slot: Slot,
        client: ClientIp,
        limit: Limit,
        most: PositiveCount,
    ) -> Result<Permit, LimitExceeded> {
        let limits = &self.generation.limits;
        let Some(keys) = limits.keys(client) else {
            return Ok(places.admit_unlimited(slot));
        };
        places.admit(slot, keys, most).or_else(|slot| {
            limits.report_exceeded(client, LimitExceeded::new(limit, Duration::from_secs(1)))?;
            Ok(places.admit_unlimited(slot))
        })
    }

    fn count_rejection(&self, over: LimitExceeded) {
        let rejections = &self.running.process.metrics.connection_rejections;
        rejections.add(over.limit.name());
    }

    /// The right to a handshake; while too many are under way, in the client's turn.
    async fn acquire_handshake(&self, client: ClientIp) -> Option<Permit> {
        let (limits, places) = (&self.generation.limits, &self.running.process.handshakes);
        let trusted = self.generation.config.server.trusted_proxies.trusts(client);
        let keys = limits.keys(client).filter(|_| !trusted);
        let share = match keys {
            None => None,
            Some(keys) => {
                let most = limits.settings().handshakes_per_client;
                let share = places.share(keys, most);
                if share.is_none() {
                    let over =
                        LimitExceeded::new(Limit::HandshakesPerClient, Duration::from_secs(1));
                    let tried_out = limits.report_exceeded(client, over);
                    tried_out
                        .inspect_err(|over| self.count_rejection(*over))
                        .ok()?;
                }
                share
            }
        };
        let patience = self.generation.config.tls.handshake_timeout.get();
        let Some(slot) = places.acquire_slot_within(patience, keys).await else {
            let rejections = &self.running.process.metrics.connection_rejections;
            rejections.add("max_handshakes");
            return None;
        };
        Some(places.permit(share, slot))
    }

    async fn read_proxy_header(&self, stream: &mut TcpStream) -> io::Result<Option<ClientIp>> {
        let patience = self.generation.config.tls.handshake_timeout.get();
        let reading = tokio::time::timeout(patience, forwarded::read_proxy_header(stream));
        reading
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn secure(
        &self,
        stream: TcpStream,
        tls: tls::Acceptor,
        (peer, port, is_unnamed): (ClientIp, Option<u16>, bool),
        permit: Permit,
    ) -> Option<(Secured<TcpStream>, Downstream)> {
        let handshakes = &self.running.process.metrics.handshakes;
        // Small frames must not wait for each other. It fails only on a socket
        // that is gone already, which the handshake will find.
        let _ = stream.set_nodelay(true);
        let turn = self.acquire_handshake(peer).await?;
        let mut secured = match tls.handshake(stream).await {
            Ok(secured) => secured,
            Err(error) => {
                handshakes.add(error.name());
                tracing::debug!(
                    name: "tls_handshake_failed",
                    { client.ip = %peer, reason = error.name(), error = error_chain(&error) },
                    "TLS handshake failed"
                );
                return None;
            }
        };
        drop(turn);
        handshakes.add("done");
        let downstream = Downstream {
            peer,
            is_unnamed,
            port,
            subject: secured.client.take(),
            permit: Arc::new(permit),
            activity: ActivityTracker::new(),
            refusals: Arc::default(),
        };
        Some((secured, downstream))
    }
}

/// While there is too much memory in use, few come in: enough to see how it is,
/// and for the way back not to be shut for ever.
async fn wait_while_overloaded(process: &Process) {
    if process.load.is_overloaded() {
        tokio::time::sleep(ACCEPT_BACKOFF).await;
    }
}

/// Completes a while after a stop was asked for: who was accepted just before
/// that is about to ask, and would not ask twice.
async fn shutdown_deadline(drain: &Drain) {
    drain.token().cancelled().await;
    tokio::time::sleep(HANDSHAKE_STOP_TIMEOUT).await;
}

/// A client that left before it was accepted is nothing; running out of files
/// or memory passes, but not by trying at once.
async fn back_off(error: &io::Error, told: &mut Option<Instant>) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) {
        return;
    }
    if told.is_none_or(|told| told.elapsed() >= LOG_INTERVAL) {
        *told = Some(Instant::now());
        tracing::error!(
            name: "accept_failed",
            error = error_chain(&error),
            "accepting a connection failed"
        );
    }
    tokio::time::sleep(ACCEPT_BACKOFF).await;
}

/// For how long the log says nothing more about it.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long a TLS handshake may still take at a stop.
const HANDSHAKE_STOP_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// EMFILE and the like do not pass by trying at once (accept(2)).
    #[tokio::test(start_paused = true)]
    async fn without_files_it_rests_between_tries_and_tells_now_and_then() {
        let none_left = io::Error::from_raw_os_error(24);
        let (mut told, start) = (None, Instant::now());
        for _ in 0..200 {
            back_off(&none_left, &mut told).await;
        }
        assert_eq!(start.elapsed(), 200 * ACCEPT_BACKOFF);
        assert_eq!(told.unwrap() - start, LOG_INTERVAL);
        let gone = io::ErrorKind::ConnectionAborted.into();
        back_off(&gone, &mut told).await;
        assert_eq!(start.elapsed(), 200 * ACCEPT_BACKOFF);
    }
}
