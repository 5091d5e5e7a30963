//! Facts read from an X.509 certificate: names, issuer, and dates.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateInfo {
    /// The DNS names (`subjectAltName`) in lower case, wildcards as `*.name`, and the IP
    /// addresses.
    pub(super) names: Vec<String>,
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Whether the certificate has version 3 (RFC 5280 §4.1.2.1), the only one for TLS.
    pub(super) is_version_3: bool,
    key_id: Option<Vec<u8>>,
    issuer_key_id: Option<Vec<u8>>,
}

impl CertificateInfo {
    /// Parses a certificate; `None` if it is malformed.
    pub(super) fn parse(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut info = Self {
            names: Vec::new(),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            not_before: at(parsed.validity().not_before.timestamp()),
            not_after: at(parsed.validity().not_after.timestamp()),
            is_version_3: parsed.version() == X509Version::V3,
            key_id: None,
            issuer_key_id: None,
        };
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    info.names = names
                        .general_names
                        .iter()
                        .filter_map(|name| match name {
                            // Clients look for an address in `iPAddress` alone.
                            GeneralName::DNSName(dns) if dns.parse::<IpAddr>().is_err() => {
                                Some(dns.to_ascii_lowercase())
                            }
                            GeneralName::IPAddress(bytes) => Some(address(bytes)?.to_string()),
                            _ => None,
                        })
                        .collect();
                }
                ParsedExtension::SubjectKeyIdentifier(id) => info.key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    info.issuer_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        Some(info)
    }

    /// Returns whether the certificate is valid for an IP address.
    pub(super) fn has_address(&self) -> bool {
        let mut names = self.names.iter();
        names.any(|name| name.parse::<IpAddr>().is_ok())
    }

    /// Returns whether the certificate is valid for `host`, a name or an IP address. A wildcard
    /// stands for one label (RFC 9525 §6.3).
    pub(super) fn is_for(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            // IPv6 addresses have several spellings; the names have the canonical one.
            return self.names.contains(&address.to_string());
        }
        let host = host.to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(wild) => parent == Some(wild),
            None => *name == host,
        })
    }

    /// Returns whether `issuer` may have issued this certificate, by names and key ids. Does
    /// not verify the signature.
    pub(super) fn is_issued_by(&self, issuer: &Self) -> bool {
        let same_key = match (&self.issuer_key_id, &issuer.key_id) {
            (Some(named), Some(own)) => named == own,
            _ => true,
        };
        self.issuer == issuer.subject && same_key
    }

    /// Returns whether subject and issuer are the same.
    pub(super) fn is_self_signed(&self) -> bool {
        self.is_issued_by(self)
    }
}

/// Formats a time in UTC to the second (RFC 3339).
pub(super) fn format_date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Returns the IP address in an `iPAddress` (RFC 5280 §4.2.1.6), of 4 or 16 bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn at(seconds: i64) -> SystemTime {
    // Dates before 1970 all become 1970: such a certificate has expired in any case.
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
