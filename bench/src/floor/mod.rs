//! Servers that do only the minimal work, as a lower bound for the others: the edge's TLS,
//! one thread, and nothing else that a product needs.

mod answers;
mod proxy;
mod request;
mod rooms;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

pub(crate) use answers::serve;
pub(crate) use proxy::serve as serve_hyper;

/// A boxed future, so that a waiting connection takes little memory.
type Stream = Box<TlsStream<TcpStream>>;

/// Arguments of the floor that responds directly from the loop that reads.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    door: Door,
    /// The Unix socket where events are published
    #[arg(long)]
    publish: PathBuf,
    /// Send all events that wait for a session in one write, instead of one write each
    #[arg(long)]
    coalesce: bool,
}

/// Arguments of the simplest proxy with hyper.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProxyPlan {
    #[command(flatten)]
    door: Door,
    #[arg(long)]
    upstream: SocketAddr,
}

#[derive(Clone, Debug, Args)]
struct Door {
    #[arg(long)]
    listen: SocketAddr,
    /// The certificate, in PEM
    #[arg(long)]
    certificate: PathBuf,
    /// Its private key, in PEM
    #[arg(long)]
    key: PathBuf,
}

impl Door {
    /// Runs `live` on every connection.
    async fn serve<L, F>(&self, protocols: &[&[u8]], live: L) -> anyhow::Result<()>
    where
        L: Fn(Stream) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let tls = self.tls(protocols)?;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.listen)?;
        let listener = socket.listen(BACKLOG)?;
        let mut connections = JoinSet::new();
        loop {
            // Both branches are cancel-safe.
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.context("cannot accept")?;
                    stream.set_nodelay(true)?;
                    let (tls, live) = (tls.clone(), live.clone());
                    connections.spawn(async move {
                        // The generator notices a failed connection.
                        if let Ok(stream) = Box::pin(tls.accept(stream)).await {
                            live(Box::new(stream)).await;
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    fn tls(&self, protocols: &[&[u8]]) -> anyhow::Result<TlsAcceptor> {
        let file = |path: &PathBuf| format!("cannot read {}", path.display());
        let certificate = CertificateDer::from_pem_file(&self.certificate)
            .with_context(|| file(&self.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| file(&self.key))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Length of the accept queue: all sessions of a storm fit.
const BACKLOG: u32 = 8192;
