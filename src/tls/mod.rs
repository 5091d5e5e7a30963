//! TLS 1.2 and 1.3 by rustls with aws-lc-rs: its own suites and its own order
//! of key exchanges, X25519MLKEM768 first. No early data: a replayed `POST`
//! would be Laravel's to find out.

mod acme;
mod certificate_info;
mod certificates;
mod certified_key;
mod challenges;
mod client_auth;
mod error;
mod expiry;
mod record_layer;
mod scratch;
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

pub use self::acme::{Acme, Challenge, Domain, Error as AcmeError, ExternalAccount, Renewal};
pub use self::certificates::Certificates;
pub use self::challenges::Challenges;
pub use self::client_auth::{ClientAuthMode, ClientAuthorities, ClientSubject, Clients};
pub use self::error::{CertificateFlaw, Error, FileOrigin};
pub use self::expiry::{CertificateExpiry, Urgency};
pub use self::settings::{KeyPair, MinVersion, Settings};
pub use self::stream::TlsStream;
pub use self::watch::{reload, watch};

/// The application protocol that ALPN settled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1, also when the client named none.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Secured<S> {
    /// The decrypted stream.
    pub io: Box<TlsStream<S>>,
    /// What will be spoken over it.
    pub alpn: Alpn,
    /// Who the client is by its certificate, if it was asked and has one.
    pub client: Option<ClientSubject>,
}

/// Why a handshake did not end well.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took longer than `handshake_timeout`.
    #[error("the handshake was not finished in time")]
    Timeout,
    /// The peer went away, or spoke something else.
    #[error("the handshake failed")]
    Failed(#[source] std::io::Error),
    /// It was an ACME server, which saw in the handshake what it wanted to see.
    #[error("an ACME server looked at a proof")]
    Proof,
}

impl HandshakeError {
    /// In a word, as metrics count it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Failed(_) => "failed",
            Self::Proof => "acme_proof",
        }
    }
}

/// Makes secured connections out of plain ones.
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

/// Makes the session tickets of the whole process, so that a reload costs
/// nobody a resumption. rustls rotates its keys every six hours.
///
/// # Errors
/// The system has no randomness to give.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}

/// An acceptor for each listener.
#[derive(Debug)]
pub struct Acceptors {
    open: Acceptor,
    guarded: Option<Acceptor>,
    clients: Clients,
}

impl Acceptors {
    /// Acceptors that show `certificates`, as `settings` say, and know clients by
    /// `authorities`.
    ///
    /// # Errors
    /// One of the authorities is none.
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
            .verifier(settings.clients.certificate)?
            .map(|verifier| {
                let mut config = config(settings, certificates, verifier);
                // A ticket would carry an identity past a change of authorities, and
                // one from a listener that asks nobody would carry none: whoever
                // must show a certificate shows it each time.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                acceptor(config)
            });
        Ok(Self {
            open: acceptor(open),
            guarded,
            clients: settings.clients.clone(),
        })
    }

    /// The one for the listener that was configured as `address`.
    pub fn on(&self, address: &SocketAddr) -> Acceptor {
        let guarded = self
            .guarded
            .as_ref()
            .filter(|_| self.clients.requires_certificate(address));
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
    /// Does the handshake over `stream`.
    ///
    /// # Errors
    /// The peer took too long, went away or spoke something else.
    pub async fn handshake<S>(&self, stream: S) -> Result<Secured<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = TlsStream::accept(Arc::clone(&self.config), stream);
        let io = tokio::time::timeout(self.timeout, accepting)
            .await
            .map_err(|_| HandshakeError::Timeout)?
            .map_err(HandshakeError::Failed)?;
        let alpn = match io.alpn() {
            Some(H2) => Alpn::Http2,
            Some(ACME_TLS) => return Err(HandshakeError::Proof),
            _ => Alpn::Http1,
        };
        let client = client_auth::client_subject(io.peer_certificates());
        // In a box, which is handed on at less cost than the stream.
        let io = Box::new(io);
        Ok(Secured { io, alpn, client })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What an ACME server says that wants to see a proof (RFC 8737 §6.2).
const ACME_TLS: &[u8] = b"acme-tls/1";
const H2: &[u8] = b"h2";
