//! A TLS connection to the server under test, from a chosen source address. More addresses
//! give more ports, and more clients for the limits.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio_rustls::rustls::crypto::aws_lc_rs::kx_group::X25519;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// Whether a connection may resume an earlier TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tickets {
    /// Each handshake is full.
    Never,
    /// Handshakes resume from the second on, if the server sent a ticket.
    Kept,
}

/// Opens connections to one server.
#[derive(Clone)]
pub(crate) struct Dialer {
    server: SocketAddr,
    tls: TlsConnector,
}

impl Dialer {
    pub(crate) fn new(server: SocketAddr, tickets: Tickets) -> anyhow::Result<Self> {
        let mut provider = aws_lc_rs::default_provider();
        // The groups that all servers support. Otherwise each would choose another one, and the
        // edge, which prefers a post-quantum group, would send a HelloRetryRequest.
        provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![X25519];
        let provider = Arc::new(provider);
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        if tickets == Tickets::Never {
            config.resumption = Resumption::disabled();
        }
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { server, tls })
    }

    pub(crate) async fn dial(&self, source: Ipv4Addr) -> anyhow::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket
            .bind((source, 0).into())
            .with_context(|| format!("no free port on {source}"))?;
        let stream = socket
            .connect(self.server)
            .await
            .with_context(|| format!("cannot connect to {}", self.server))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        self.tls.connect(name, stream).await.context("TLS")
    }
}

/// A verifier that accepts any certificate: the bench makes a new one for each run.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
