//! `[tls.acme]` of `config.toml`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use crate::core::units::ConfigDuration;

/// Where certificates come from, if the edge gets them by itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The names to get a certificate for; none: it is not done.
    pub domains: Vec<Domain>,
    /// Whom the CA writes to, as `mailto:` addresses.
    pub contact: Vec<String>,
    /// Whether the CA's terms are accepted.
    pub terms_accepted: bool,
    /// The CA.
    pub directory: String,
    /// The CA that the directory's own certificate is from, where it is not one
    /// that the system trusts.
    pub directory_ca: Option<PathBuf>,
    /// How names are proved.
    pub challenge: Challenge,
    /// Where account, key and certificate are kept.
    pub state: PathBuf,
    /// How long after a failure it is tried again; twice as long each time.
    pub retry_after: ConfigDuration,
    /// Whether a certificate that nobody trusts is shown until there is one.
    pub temporary_certificate: bool,
    /// The account at the CA's other office, where it wants one.
    pub external_account: Option<ExternalAccount>,
}

/// What a CA gives to those who have an account there already (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// The key's id.
    pub id: String,
    /// A file with the key as the CA gives it, in base64url.
    pub key_file: PathBuf,
}

/// How it is proved that a name is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Challenge {
    /// Over plain HTTP on port 80.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// In a handshake on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl Acme {
    /// Whether anything is to be done.
    pub fn is_on(&self) -> bool {
        !self.domains.is_empty()
    }

    /// The file with the certificate and its key.
    pub fn certificate(&self) -> PathBuf {
        self.state.join("certificate.pem")
    }

    pub(in crate::tls) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let external = self.external_account.as_mut();
        [&mut self.state]
            .into_iter()
            .chain(&mut self.directory_ca)
            .chain(external.map(|external| &mut external.key_file))
    }
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: Vec::new(),
            terms_accepted: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            directory_ca: None,
            challenge: Challenge::default(),
            state: "/var/lib/pwd-edge/acme".into(),
            retry_after: ConfigDuration::seconds(300),
            temporary_certificate: false,
            external_account: None,
        }
    }
}

/// A name in the DNS, in lower case. No wildcard: neither challenge proves one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(String);

impl Domain {
    /// The name.
    pub fn as_str(&self) -> &str {
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
