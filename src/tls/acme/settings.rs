//! The settings of the ACME client: `[tls.acme]` of `config.toml`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use crate::core::units::ConfigDuration;

/// The CA, and the names for which the edge obtains certificates.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The names of the certificate; ACME is off if there are none.
    pub(crate) domains: Vec<Domain>,
    /// The contact addresses for the CA, as `mailto:` URLs.
    pub(crate) contact: Vec<String>,
    /// Whether the operator has agreed to the CA's terms of service.
    pub(crate) terms_of_service_agreed: bool,
    /// The URL of the CA's ACME directory.
    pub(crate) directory: String,
    /// The file with the CA that has issued the directory server's own certificate, for a CA
    /// that the system does not trust.
    pub(crate) directory_ca_file: Option<PathBuf>,
    /// The type of challenge.
    pub(crate) challenge: Challenge,
    /// The directory for account, key and certificate.
    pub(crate) storage: PathBuf,
    /// The pause after a failure; it doubles with each further one.
    pub(crate) retry_interval: ConfigDuration,
    /// Whether the edge presents a self-signed certificate until the CA has issued one.
    pub(crate) self_signed_fallback: bool,
    /// The account to bind, if the CA requires one.
    pub(crate) external_account: Option<ExternalAccount>,
}

/// The external account binding for customers of a CA (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExternalAccount {
    /// The id of the key.
    pub(crate) id: String,
    /// The file with the key in base64url, as the CA provides it.
    pub(crate) key_file: PathBuf,
}

/// The type of challenge by which the edge proves that it controls a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Challenge {
    /// A request over plain HTTP on port 80 (RFC 8555 §8.3).
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// A TLS handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl Acme {
    /// Returns whether ACME is on.
    pub(crate) fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Returns the path of the file with the certificate and its key.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.storage.join("certificate.pem")
    }

    /// Returns every path, so that the caller can resolve relative ones.
    pub(in crate::tls) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let external = self.external_account.as_mut();
        [&mut self.storage]
            .into_iter()
            .chain(&mut self.directory_ca_file)
            .chain(external.map(|external| &mut external.key_file))
    }
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: Vec::new(),
            terms_of_service_agreed: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            directory_ca_file: None,
            challenge: Challenge::default(),
            storage: "/var/lib/pwd-edge/acme".into(),
            retry_interval: ConfigDuration::seconds(300),
            self_signed_fallback: false,
            external_account: None,
        }
    }
}

/// A DNS name in lower case. Wildcards are rejected: neither challenge can prove one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain(String);

impl Domain {
    /// Returns the name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.to_ascii_lowercase();
        let label = |label: &str| {
            let plain = label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-');
            !label.is_empty() && label.len() < 64 && plain
        };
        if text.starts_with("*.") {
            return Err(de::Error::custom(format!(
                "{text:?} is a wildcard, which only a change in the DNS proves; \
                 name each host, or let another ACME client write the files"
            )));
        }
        if text.split('.').all(label) {
            Ok(Self(text))
        } else {
            Err(de::Error::custom(format!(
                "{text:?} is not a name in the DNS; expected one such as \"www.example.org\""
            )))
        }
    }
}
