//! Client certificates (mutual TLS), which restrict a listener to the clients of certain CAs,
//! for example for admin areas.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use serde::Deserialize;

use super::certificate_info::CertificateInfo;
use super::error::{Error, FileOrigin};
use super::pem_files::read_chain;
use super::provider;

/// Settings of client certificates: `[tls.client_auth]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAuth {
    /// Whether the edge requests a client certificate.
    pub mode: ClientAuthMode,
    /// The file with the CAs of client certificates, in PEM.
    pub ca_file: PathBuf,
    /// The addresses of `server.listen` that request a certificate; empty for all.
    pub listen: Vec<SocketAddr>,
}

/// Whether the edge requests a client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    /// The edge requests no certificate.
    #[default]
    Off,
    /// The edge requests a certificate. It serves clients without one, but rejects an invalid
    /// certificate.
    Optional,
    /// The edge rejects the handshake of a client without a valid certificate.
    Required,
}

impl Default for ClientAuth {
    fn default() -> Self {
        Self {
            mode: ClientAuthMode::Off,
            ca_file: "certs/clients.pem".into(),
            listen: Vec::new(),
        }
    }
}

impl ClientAuth {
    /// Returns whether the listener at `address` requests a certificate.
    pub(super) fn requires_certificate(&self, address: &SocketAddr) -> bool {
        self.listen.is_empty() || self.listen.contains(address)
    }
}

/// The subject of a client certificate in a form for a header: the text of RFC 4514, with
/// everything but visible ASCII and spaces percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSubject(String);

impl ClientSubject {
    fn new(subject: &str) -> Self {
        let mut safe = String::with_capacity(subject.len());
        for byte in subject.bytes() {
            match byte {
                b'%' => safe.push_str("%25"),
                b' '..=b'~' => safe.push(char::from(byte)),
                _ => write!(safe, "%{byte:02X}").expect("writing to a String never fails"),
            }
        }
        Self(safe)
    }

    /// Returns the text, which consists of visible ASCII and spaces.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the subject of a verified chain's first certificate.
pub(super) fn client_subject(certificates: Option<&[CertificateDer<'_>]>) -> Option<ClientSubject> {
    let info = CertificateInfo::parse(certificates?.first()?)?;
    Some(ClientSubject::new(&info.subject))
}

/// The CAs of client certificates; empty if client certificates are off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthorities {
    place: FileOrigin,
    certificates: Vec<CertificateDer<'static>>,
}

impl ClientAuthorities {
    /// Reads the file, unless client certificates are off. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::Read`] if the file cannot be read, and [`Error::Invalid`] if it holds
    /// no certificates in PEM form.
    pub fn load(settings: &ClientAuth) -> Result<Self, Error> {
        let place = FileOrigin {
            path: settings.ca_file.clone(),
            key: "tls.client_auth.ca_file".to_owned(),
        };
        let certificates = match settings.mode {
            ClientAuthMode::Off => Vec::new(),
            ClientAuthMode::Optional | ClientAuthMode::Required => read_chain(&place)?,
        };
        Ok(Self {
            place,
            certificates,
        })
    }

    /// Checks that the CAs are usable.
    ///
    /// # Errors
    /// Returns [`Error::Authorities`] if a CA is unusable.
    pub(crate) fn check(&self, mode: ClientAuthMode) -> Result<(), Error> {
        self.verifier(mode).map(drop)
    }

    /// Returns the verifier of client certificates, or `None` if they are off.
    ///
    /// # Errors
    /// Returns [`Error::Authorities`] if a CA is unusable.
    pub(super) fn verifier(
        &self,
        mode: ClientAuthMode,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
        if mode == ClientAuthMode::Off {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        for authority in &self.certificates {
            let added = roots.add(authority.clone());
            added.map_err(|error| self.unusable(error))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if mode == ClientAuthMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build();
        verifier
            .map(|verifier| Some(verifier as _))
            .map_err(|error| self.unusable(error))
    }

    fn unusable(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Authorities {
            place: self.place.clone(),
            source: error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_subject_is_encoded_for_a_header() {
        let subject = |text| ClientSubject::new(text).as_str().to_owned();
        assert_eq!(subject("CN=Ana, O=Desk"), "CN=Ana, O=Desk");
        assert_eq!(
            subject("CN=Jos\u{e9} 100%\r\n"),
            "CN=Jos%C3%A9 100%25%0D%0A"
        );
    }
}
