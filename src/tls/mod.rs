//! TLS 1.2 and 1.3 for the listeners, by rustls with aws-lc-rs: handshakes, certificates by
//! SNI with hot reload, client certificates, and certificates from a CA over ACME.
//!
//! Cipher suites and key exchanges are rustls' defaults, X25519MLKEM768 first. There is no
//! early data: Laravel could not detect a replayed `POST`.

mod acme;
mod acme_report;
mod certificate_info;
mod certificates;
mod certified_key;
mod chain;
mod challenges;
mod client_auth;
mod error;
mod expiry;
mod metrics;
mod order_status;
mod pem_blocks;
mod pem_files;
mod settings;
mod sni;
mod stream;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::acme::{Acme, Challenge, Error as AcmeError, Renewal};
pub(crate) use self::acme_report::AcmeReport;
pub use self::certificates::Certificates;
pub(crate) use self::challenges::Challenges;
pub(crate) use self::client_auth::ClientSubject;
pub use self::client_auth::{ClientAuth, ClientAuthMode, ClientAuthorities};
pub(crate) use self::error::Error;
pub(crate) use self::expiry::{CertificateExpiry, Urgency};
pub(crate) use self::metrics::Metrics;
pub use self::settings::{KeyPair, Settings};
pub(crate) use self::stream::TlsStream;
pub(crate) use self::watch::{reload, watch};

/// The application protocol that ALPN has negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// HTTP/1.1, also if the client offered none that the edge knows.
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Secured<S> {
    /// The stream of the decrypted bytes.
    pub(crate) io: Box<TlsStream<S>>,
    /// The application protocol for the stream.
    pub(crate) alpn: Alpn,
    /// The subject of the client's certificate, if the listener requests one and the client
    /// has sent it.
    pub(crate) client: Option<ClientSubject>,
}

/// The reason why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The handshake took longer than `handshake_timeout`.
    #[error("the handshake was not finished in time")]
    Timeout,
    /// The peer closed the connection, or violated the protocol.
    #[error("the handshake failed")]
    Failed(#[source] std::io::Error),
    /// The peer was an ACME server, which needs no more than the handshake (TLS-ALPN-01).
    #[error("an ACME server looked at a proof")]
    Proof,
}

impl HandshakeError {
    /// Returns the error's code, which is the label in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Failed(_) => "failed",
            Self::Proof => "acme_proof",
        }
    }
}

/// Performs the handshakes of one listener. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    timeout: Duration,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// Creates the issuer of session tickets for the whole process, so that clients can resume
/// sessions across a reload. rustls rotates its keys every six hours.
///
/// # Errors
/// Returns an error if the system provides no randomness.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

/// The acceptors of all listeners.
#[derive(Debug)]
pub struct Acceptors {
    open: Acceptor,
    guarded: Option<Acceptor>,
    client_auth: ClientAuth,
}

impl Acceptors {
    /// Creates acceptors that present `certificates`, and verify client certificates by
    /// `authorities` where `settings` ask for it.
    ///
    /// # Errors
    /// Returns [`Error::Authorities`] if one of the authorities is unusable.
    pub fn new(
        settings: &Settings,
        certificates: &Arc<Certificates>,
        authorities: &ClientAuthorities,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<Self, Error> {
        let acceptor = |config: ServerConfig| Acceptor {
            config: Arc::new(config),
            timeout: settings.handshake_timeout.get(),
        };
        let mut open = config(
            settings,
            certificates,
            WebPkiClientVerifier::no_client_auth(),
        );
        open.ticketer = ticketer;
        let guarded = authorities
            .verifier(settings.client_auth.mode)?
            .map(|verifier| {
                let mut config = config(settings, certificates, verifier);
                // No resumption here: a ticket would carry an identity past a change of the
                // authorities, and a ticket from a listener without client certificates
                // would carry none. So clients send their certificate each time.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                acceptor(config)
            });
        Ok(Self {
            open: acceptor(open),
            guarded,
            client_auth: settings.client_auth.clone(),
        })
    }

    /// Returns the acceptor for the listener that is configured as `address`.
    pub fn on(&self, address: &SocketAddr) -> Acceptor {
        let guarded = self
            .guarded
            .as_ref()
            .filter(|_| self.client_auth.requires_certificate(address));
        guarded.unwrap_or(&self.open).clone()
    }
}

fn config(
    settings: &Settings,
    certificates: &Arc<Certificates>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&settings.min_version.versions())
        .expect("the provider has suites for both versions")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(certificates) as _);
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    if settings.acme.is_on() && settings.acme.challenge == Challenge::TlsAlpn01 {
        config.alpn_protocols.push(ACME_TLS.to_vec());
    }
    config
}

impl Acceptor {
    /// Performs the handshake over `stream`. Dropping the future closes the connection.
    ///
    /// # Errors
    /// Returns [`HandshakeError::Timeout`] after `handshake_timeout`,
    /// [`HandshakeError::Proof`] if the peer was an ACME server, and
    /// [`HandshakeError::Failed`] otherwise.
    pub async fn handshake<S>(&self, stream: S) -> Result<Secured<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = TlsStream::accept(Arc::clone(&self.config), stream);
        let tls = tokio::time::timeout(self.timeout, accepting)
            .await
            .map_err(|_| HandshakeError::Timeout)?
            .map_err(HandshakeError::Failed)?;
        let connection = tls.connection();
        let alpn = match connection.alpn_protocol() {
            Some(H2) => Alpn::Http2,
            Some(ACME_TLS) => return Err(HandshakeError::Proof),
            _ => Alpn::Http1,
        };
        let client = client_auth::client_subject(connection.peer_certificates());
        Ok(Secured {
            // Boxed: moving the stream itself from future to future costs more.
            io: Box::new(tls),
            alpn,
            client,
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The ALPN protocol of an ACME server that validates a challenge (RFC 8737 §6.2).
const ACME_TLS: &[u8] = b"acme-tls/1";
const H2: &[u8] = b"h2";
