//! The settings of the ACME client: `[tls.acme]` of `config.toml`.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;
use hyper::http::uri::Scheme;
use serde::{Deserialize, Deserializer, de};

use crate::core::units::ConfigDuration;

/// The CA, and the names for which the edge obtains certificates.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// The names of the certificate; ACME is off if there are none.
    pub(crate) domains: Vec<Domain>,
    /// The contact addresses for the CA, as `mailto:` URLs.
    pub(crate) contact: Vec<Contact>,
    /// Whether the operator has agreed to the CA's terms of service.
    pub(crate) terms_of_service_agreed: bool,
    /// The URL of the CA's ACME directory.
    #[serde(deserialize_with = "deserialize_directory")]
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

    /// Returns the names of the certificate as text.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.domains.iter().map(Domain::as_str);
        names.map(ToOwned::to_owned).collect()
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
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(de::Error::custom(format!(
                "{text:?} is an IP address, for which the edge orders no certificate: CAs issue \
                 those for a few days and in a special profile; name a host, or let another ACME \
                 client write the files"
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

/// Reads `directory`.
fn deserialize_directory<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let text = String::deserialize(value)?;
    let is_https = |url: Uri| url.scheme() == Some(&Scheme::HTTPS) && url.host().is_some();
    if text.parse().is_ok_and(is_https) {
        Ok(text)
    } else {
        Err(de::Error::custom(
            "tls.acme.directory must be a URL that begins with https://",
        ))
    }
}

/// A contact address: a `mailto:` URL with one address (RFC 8555 §7.3), the one kind that each
/// CA accepts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Contact(String);

impl Contact {
    /// Returns the URL.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Contact {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let address = text.strip_prefix("mailto:");
        if address.is_some_and(is_mail_address) {
            return Ok(Self(text));
        }
        let example = if is_mail_address(&text) {
            &text
        } else {
            "admin@example.org"
        };
        Err(format!(
            "{text:?} is no contact for a CA; expected \"mailto:{example}\""
        ))
    }
}

/// Returns whether `text` may be one e-mail address, without the `?` and `,` that RFC 8555
/// excludes.
fn is_mail_address(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"?,:/".contains(&byte);
    text.bytes().all(is_allowed)
        && text
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_that_is_no_mailto_url_is_rejected() {
        let contact = |text: &str| Contact::try_from(text.to_owned());
        let valid = "mailto:admin+acme@example.org";
        assert_eq!(contact(valid).unwrap().as_str(), valid);
        let error = contact("admin@example.com").unwrap_err();
        assert!(
            error.ends_with("expected \"mailto:admin@example.com\""),
            "{error}"
        );
        for wrong in [
            "",
            "mailto:",
            "mailto:admin",
            "mailto:@example.org",
            "mailto:a@b@c",
            "mailto:a@example.org,b@example.org",
            "mailto:a@example.org?subject=x",
            "mailto://a@example.org",
            "mailto:Admin <a@example.org>",
            "tel:+49301234567",
            "https://example.org",
        ] {
            let error = contact(wrong).unwrap_err();
            assert!(
                error.ends_with("expected \"mailto:admin@example.org\""),
                "{error}"
            );
        }
    }
}
