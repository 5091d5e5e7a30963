//! TLS 1.2 and 1.3 by rustls with aws-lc-rs: its own suites and its own order
//! of key exchanges, X25519MLKEM768 first. No early data: a replayed `POST`
//! would be Laravel's to find out.

mod certs;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use self::certs::Error;
use crate::units::Span;

/// `[tls]` of `config.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The certificate and its intermediates, in PEM, the site's own first.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
    /// How long a handshake may take.
    pub handshake_timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            certificate: "certs/fullchain.pem".into(),
            key: "certs/privkey.pem".into(),
            handshake_timeout: Span::seconds(10),
        }
    }
}

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
    pub io: TlsStream<S>,
    /// What will be spoken over it.
    pub alpn: Alpn,
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
}

/// Makes secured connections out of plain ones.
#[derive(Clone)]
pub struct Acceptor {
    inner: TlsAcceptor,
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

impl Acceptor {
    /// Reads the certificate and key that `settings` name.
    ///
    /// # Errors
    /// A file is missing or empty, or certificate and key do not belong together.
    pub fn load(settings: &Settings, ticketer: Arc<dyn ProducesTickets>) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certified = certs::load(&settings.certificate, &settings.key, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        config.ticketer = ticketer;
        Ok(Self {
            inner: TlsAcceptor::from(Arc::new(config)),
            timeout: settings.handshake_timeout.get(),
        })
    }

    /// Does the handshake over `stream`.
    ///
    /// # Errors
    /// The peer took too long, went away or spoke something else.
    pub async fn handshake<S>(&self, stream: S) -> Result<Secured<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let io = tokio::time::timeout(self.timeout, self.inner.accept(stream))
            .await
            .map_err(|_| HandshakeError::Timeout)?
            .map_err(HandshakeError::Failed)?;
        let alpn = match io.get_ref().1.alpn_protocol() {
            Some(H2) => Alpn::Http2,
            _ => Alpn::Http1,
        };
        Ok(Secured { io, alpn })
    }
}

const H2: &[u8] = b"h2";
