//! The settings of TLS: `[tls]` of `config.toml`.

use std::path::PathBuf;

use rustls::SupportedProtocolVersion;
use serde::Deserialize;

use super::{Acme, ClientAuth};
use crate::core::units::ConfigDuration;

/// The certificates of the listeners, and the parameters of TLS.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The file of the default certificate and its intermediates in PEM, the site's own
    /// first. Clients that request an unknown name get this certificate.
    pub certificate: PathBuf,
    /// The file of the default certificate's private key in PEM.
    pub key: PathBuf,
    /// More certificates; the server name that a client requests selects one.
    pub certificates: Vec<KeyPair>,
    /// Names that the certificates must cover.
    pub hosts: Vec<String>,
    /// The minimum version of TLS.
    pub min_version: MinVersion,
    /// The time within which a handshake must complete.
    pub handshake_timeout: ConfigDuration,
    /// Client certificates: `[tls.client_auth]`.
    pub client_auth: ClientAuth,
    /// Certificates that the edge obtains itself: `[tls.acme]`.
    pub acme: Acme,
}

/// The minimum version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3; clients from before about 2019 need 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 and no older version.
    #[serde(rename = "1.3")]
    Tls13,
}

impl MinVersion {
    /// Returns the allowed versions.
    pub(super) fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::Tls13 => vec![&rustls::version::TLS13],
        }
    }
}

/// The files of one more certificate: an entry of `[[tls.certificates]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The file of the certificate and its intermediates in PEM.
    pub certificate: PathBuf,
    /// The file of its private key in PEM.
    pub key: PathBuf,
}

impl Settings {
    /// Returns the paths of private keys, and the directory of the ACME client, which holds
    /// one, too.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &PathBuf> {
        let more = self.certificates.iter().map(|pair| &pair.key);
        [&self.key, &self.acme.storage].into_iter().chain(more)
    }

    /// Returns every path, so that the caller can resolve relative ones.
    pub(crate) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let more = self.certificates.iter_mut();
        [
            &mut self.certificate,
            &mut self.key,
            &mut self.client_auth.ca_file,
        ]
        .into_iter()
        .chain(more.flat_map(|pair| [&mut pair.certificate, &mut pair.key]))
        .chain(self.acme.paths_mut())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            certificate: "certs/fullchain.pem".into(),
            key: "certs/privkey.pem".into(),
            certificates: Vec::new(),
            hosts: Vec::new(),
            min_version: MinVersion::default(),
            handshake_timeout: ConfigDuration::seconds(10),
            client_auth: ClientAuth::default(),
            acme: Acme::default(),
        }
    }
}
