//! Facts read from an X.509 certificate: names, issuer, dates, and its place in a chain.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::error::PemProblem;

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateInfo {
    /// The DNS names (`subjectAltName`) in lower case; wildcards as `*.name`.
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
                            GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
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

    /// Returns whether the certificate is valid for `host`. A wildcard stands for one label
    /// (RFC 9525 §6.3).
    pub(super) fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(wild) => parent == Some(wild),
            None => *name == host,
        })
    }

    /// Checks that the certificate is valid at `now`.
    ///
    /// # Errors
    /// Returns [`PemProblem::Expired`] or [`PemProblem::NotYet`] if it is not.
    pub(super) fn check_dates(&self, now: SystemTime) -> Result<(), PemProblem> {
        if now > self.not_after {
            return Err(PemProblem::Expired {
                ended: format_date(self.not_after),
                now: format_date(now),
            });
        }
        if now < self.not_before {
            return Err(PemProblem::NotYet {
                begins: format_date(self.not_before),
                now: format_date(now),
            });
        }
        Ok(())
    }

    /// Returns whether `issuer` may have issued this certificate, by names and key ids. Does
    /// not verify the signature.
    fn is_issued_by(&self, issuer: &Self) -> bool {
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

/// Checks that the issuer of each certificate follows it. The root may be missing, since
/// clients that trust it have it.
///
/// # Errors
/// Returns [`PemProblem::Disorder`] if an issuer is at another position, and
/// [`PemProblem::Gap`] if it is missing.
pub(super) fn check_chain(chain: &[CertificateInfo]) -> Result<(), PemProblem> {
    for (at, pair) in chain.windows(2).enumerate() {
        let [one, next] = pair else { continue };
        if one.is_issued_by(next) {
            continue;
        }
        let (subject, issuer) = (one.subject.clone(), one.issuer.clone());
        let others = chain.iter().enumerate().filter(|(other, _)| *other != at);
        return Err(
            if others.into_iter().any(|(_, other)| one.is_issued_by(other)) {
                PemProblem::Disorder { subject, issuer }
            } else {
                PemProblem::Gap { subject, issuer }
            },
        );
    }
    Ok(())
}

/// Formats a time in UTC to the second (RFC 3339).
pub(super) fn format_date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn at(seconds: i64) -> SystemTime {
    // Dates before 1970 all become 1970: such a certificate has expired in any case.
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
