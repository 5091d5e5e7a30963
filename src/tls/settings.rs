//! `[tls]` of `config.toml`.

use std::path::PathBuf;

use rustls::SupportedProtocolVersion;
use serde::Deserialize;

use super::{Acme, Clients};
use crate::core::units::ConfigDuration;

/// Which certificates are shown, and how TLS is spoken.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The certificate and its intermediates, in PEM, the site's own first. Who
    /// asks for a name that no certificate has is shown this one.
    pub certificate: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
    /// More certificates, chosen by the names in them.
    pub certificates: Vec<KeyPair>,
    /// Names that must be in one of the certificates.
    pub hosts: Vec<String>,
    /// The oldest version that is spoken.
    pub min_version: MinVersion,
    /// How long a handshake may take.
    pub handshake_timeout: ConfigDuration,
    /// `[tls.clients]`
    pub clients: Clients,
    /// `[tls.acme]`
    pub acme: Acme,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MinVersion {
    /// 1.2, for clients from before 2019 or so.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

impl MinVersion {
    pub(super) fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::Tls13 => vec![&rustls::version::TLS13],
        }
    }
}

/// `[[tls.certificates]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The certificate and its intermediates.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Settings {
    /// Private keys, and the directory of those that the CA's certificates have.
    pub fn secrets(&self) -> impl Iterator<Item = &PathBuf> {
        let more = self.certificates.iter().map(|pair| &pair.key);
        [&self.key, &self.acme.state].into_iter().chain(more)
    }

    /// Every path in here, for those who know what relative ones count from.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let more = self.certificates.iter_mut();
        [
            &mut self.certificate,
            &mut self.key,
            &mut self.clients.authorities,
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
            clients: Clients::default(),
            acme: Acme::default(),
        }
    }
}
