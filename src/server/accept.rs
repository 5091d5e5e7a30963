//! From a listening socket to connection tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::entrances::Entrance;
use crate::client::ClientIp;
use crate::drain::Drain;
use crate::http::{self, Downstream, Handler};
use crate::limit::{Connections, Permit};
use crate::progress::Progress;
use crate::tls;

/// What every accepted connection is served with.
#[derive(Debug)]
pub(super) struct Acceptance {
    pub(super) handler: Arc<Handler>,
    pub(super) connections: Connections,
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
            let client = ClientIp::new(peer.ip());
            match self.connections.admit(slot, client.key()) {
                Some(permit) => {
                    let this = Arc::clone(&self);
                    let entrance = entrance.clone();
                    self.drain.spawn(this.enter(stream, entrance, peer, permit));
                }
                None => {
                    tracing::debug!(client.ip = %client, "too many connections of one client, closed")
                }
            }
        }
    }

    async fn enter(
        self: Arc<Self>,
        stream: TcpStream,
        entrance: Entrance,
        peer: SocketAddr,
        permit: Permit,
    ) {
        match entrance {
            Entrance::Tls(tls) => self.serve(stream, tls, peer, permit).await,
            Entrance::Plain(plain) => tokio::select! {
                () = plain.serve(stream) => drop(permit),
                () = self.drain.token().cancelled() => {}
            },
        }
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        tls: tls::Acceptor,
        peer: SocketAddr,
        permit: Permit,
    ) {
        let client = ClientIp::new(peer.ip());
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
                tracing::debug!(client.ip = %client, %error, "no TLS");
                return;
            }
        };
        let downstream = Downstream {
            client,
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
