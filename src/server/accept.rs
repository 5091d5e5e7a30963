//! From a listening socket to connection tasks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::entrances::{Entrance, Inside};
use crate::client::ClientIp;
use crate::drain::Drain;
use crate::forwarded::{self, TrustedProxies};
use crate::http::{self, Downstream, Handler};
use crate::limit::{Connections, Permit, Slot};
use crate::progress::Progress;
use crate::tls;

/// What every accepted connection is served with.
#[derive(Debug)]
pub(super) struct Acceptance {
    pub(super) handler: Arc<Handler>,
    pub(super) connections: Connections,
    pub(super) proxies: TrustedProxies,
    /// For a PROXY header.
    pub(super) patience: Duration,
    pub(super) drain: Drain,
}

impl Acceptance {
    /// Accepts from `listener` until the drain stops it. While there is no room
    /// for one more, nothing is accepted: the rest waits in the kernel.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener, entrance: Entrance) {
        loop {
            let accepted = tokio::select! {
                accepted = async { (self.connections.slot().await, listener.accept().await) } => accepted,
                () = self.drain.token().cancelled() => return,
            };
            let (slot, stream, peer) = match accepted {
                (slot, Ok((stream, peer))) => (slot, stream, peer),
                (_, Err(error)) => {
                    pause(&error).await;
                    continue;
                }
            };
            let this = Arc::clone(&self);
            let peer = ClientIp::new(peer.ip());
            self.drain
                .spawn(this.enter(stream, entrance.clone(), peer, slot));
        }
    }

    async fn enter(
        self: Arc<Self>,
        stream: TcpStream,
        entrance: Entrance,
        peer: ClientIp,
        slot: Slot,
    ) {
        let stop = self.drain.token().clone();
        let admitted = tokio::select! {
            admitted = self.admit(stream, entrance.proxied, peer, slot) => admitted,
            () = stop.cancelled() => return,
        };
        let Some((stream, client, permit)) = admitted else {
            return;
        };
        match entrance.inside {
            Inside::Tls(tls) => self.serve(stream, tls, client, permit).await,
            Inside::Plain(plain) => tokio::select! {
                () = plain.serve(stream) => drop(permit),
                () = stop.cancelled() => {}
            },
        }
    }

    /// Finds out who connects, and gives him `slot` if he has not too many. A
    /// proxy of ours connects for many clients, who are counted by request.
    async fn admit(
        &self,
        mut stream: TcpStream,
        proxied: bool,
        peer: ClientIp,
        slot: Slot,
    ) -> Option<(TcpStream, ClientIp, Permit)> {
        let trusted = self.proxies.trusts(peer);
        if !proxied && trusted {
            return Some((stream, peer, self.connections.adopt(slot)));
        }
        let client = match proxied {
            false => peer,
            true if !trusted => {
                tracing::debug!(client.ip = %peer, "not one of server.trusted_proxies, closed");
                return None;
            }
            true => match self.named(&mut stream).await {
                Ok(Some(client)) => client,
                Ok(None) => return Some((stream, peer, self.connections.adopt(slot))),
                Err(error) => {
                    tracing::warn!(proxy.ip = %peer, %error, "no PROXY header from a trusted proxy");
                    return None;
                }
            },
        };
        let permit = self.connections.admit(slot, client.key());
        if permit.is_none() {
            tracing::debug!(client.ip = %client, "too many connections of one client, closed");
        }
        permit.map(|permit| (stream, client, permit))
    }

    async fn named(&self, stream: &mut TcpStream) -> io::Result<Option<ClientIp>> {
        let reading = tokio::time::timeout(self.patience, forwarded::read_proxy_header(stream));
        reading
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        tls: tls::Acceptor,
        peer: ClientIp,
        permit: Permit,
    ) {
        // Small frames must not wait for each other. It fails only on a socket
        // that is gone already, which the handshake will find.
        let _ = stream.set_nodelay(true);
        let handshake = tokio::select! {
            handshake = tls.handshake(stream) => handshake,
            () = self.drain.token().cancelled() => return,
        };
        let secured = match handshake {
            Ok(secured) => secured,
            Err(error) => {
                tracing::debug!(client.ip = %peer, %error, "no TLS");
                return;
            }
        };
        let downstream = Downstream {
            peer,
            subject: secured.client,
            permit: Arc::new(permit),
            progress: Progress::new(),
        };
        http::serve(
            secured.io,
            secured.alpn,
            Arc::clone(&self.handler),
            Arc::new(downstream),
            self.drain.token().clone(),
            self.drain.clone(),
        )
        .await;
    }
}

/// A client that left before it was accepted is nothing; running out of files
/// or memory passes, but not by trying at once.
async fn pause(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) {
        return;
    }
    tracing::error!(%error, "cannot accept a connection");
    tokio::time::sleep(PAUSE).await;
}

const PAUSE: Duration = Duration::from_millis(100);
