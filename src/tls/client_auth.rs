//! Certificates of clients: who may open a connection at all, for admin areas.

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
use super::certified_key::read_chain;
use super::error::{Error, FileOrigin};
use super::provider;

/// `[tls.clients]` of `config.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clients {
    /// Whether clients are asked for a certificate.
    pub certificate: ClientAuthMode,
    /// The CAs that issue them, in PEM.
    pub authorities: PathBuf,
    /// The addresses of `server.listen` where they are asked; empty for all.
    pub listen: Vec<SocketAddr>,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    /// Never.
    #[default]
    Off,
    /// Yes, but one without is served too; a wrong one is not.
    Optional,
    /// Without one there is no connection.
    Required,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            certificate: ClientAuthMode::Off,
            authorities: "certs/clients.pem".into(),
            listen: Vec::new(),
        }
    }
}

impl Clients {
    /// Whether the listener at `address` asks.
    pub(super) fn requires_certificate(&self, address: &SocketAddr) -> bool {
        self.listen.is_empty() || self.listen.contains(address)
    }
}

/// The subject of a client's certificate, as a header can carry it: RFC 4514
/// text, everything but visible ASCII and blanks percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSubject(String);

impl ClientSubject {
    fn new(subject: &str) -> Self {
        let mut safe = String::with_capacity(subject.len());
        for byte in subject.bytes() {
            match byte {
                b'%' => safe.push_str("%25"),
                b' '..=b'~' => safe.push(char::from(byte)),
                _ => write!(safe, "%{byte:02X}").expect("a String takes everything"),
            }
        }
        Self(safe)
    }

    /// The text, which is visible ASCII and blanks.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who the owner of `certificates`, which were verified, is.
pub(super) fn client_subject(certificates: Option<&[CertificateDer<'_>]>) -> Option<ClientSubject> {
    let info = CertificateInfo::parse(certificates?.first()?)?;
    Some(ClientSubject::new(&info.subject))
}

/// The CAs of `tls.clients.authorities`; none where nobody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthorities {
    place: FileOrigin,
    certificates: Vec<CertificateDer<'static>>,
}

impl ClientAuthorities {
    /// Reads the file, if it is needed.
    ///
    /// # Errors
    /// It cannot be read, or holds no certificates in PEM form.
    pub fn load(settings: &Clients) -> Result<Self, Error> {
        let place = FileOrigin {
            path: settings.authorities.clone(),
            key: "tls.clients.authorities".to_owned(),
        };
        let certificates = match settings.certificate {
            ClientAuthMode::Off => Vec::new(),
            ClientAuthMode::Optional | ClientAuthMode::Required => read_chain(&place)?,
        };
        Ok(Self {
            place,
            certificates,
        })
    }

    /// What verifies clients, if they are asked.
    pub(super) fn verifier(
        &self,
        asked: ClientAuthMode,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
        if asked == ClientAuthMode::Off {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        for authority in &self.certificates {
            let added = roots.add(authority.clone());
            added.map_err(|error| self.unusable(error))?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if asked == ClientAuthMode::Optional {
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
    fn a_subject_fits_into_a_header() {
        let subject = |text| ClientSubject::new(text).as_str().to_owned();
        assert_eq!(subject("CN=Ana, O=Desk"), "CN=Ana, O=Desk");
        assert_eq!(
            subject("CN=Jos\u{e9} 100%\r\n"),
            "CN=Jos%C3%A9 100%25%0D%0A"
        );
    }
}
