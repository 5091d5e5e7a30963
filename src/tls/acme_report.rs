//! The report about the certificate that the edge obtains over ACME.

use std::time::SystemTime;

use serde::Serialize;

use super::certificate_info::format_date;
use super::certificates::Certificates;
use super::expiry::{CertificateExpiry, Urgency};

/// The state of the certificate that the edge obtains over ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AcmeReport {
    /// The names of the certificate.
    pub(crate) domains: Vec<String>,
    /// Whether the edge serves a certificate from the CA.
    pub(crate) issued: bool,
    /// The error of the last order, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// The time of the next attempt (RFC 3339), if the last order failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_at: Option<String>,
}

impl Certificates {
    /// Returns the names of the ACME client's certificate, if it has not obtained it yet.
    pub(crate) fn missing_names(&self) -> Option<&[String]> {
        let report = self.acme()?;
        (!report.issued).then(|| self.acme_names())
    }

    /// Returns the state of the ACME client's certificate, or `None` if ACME is off.
    pub(crate) fn acme(&self) -> Option<AcmeReport> {
        let failure = self.orders().failure();
        (!self.acme_names().is_empty()).then(|| AcmeReport {
            domains: self.acme_names().to_vec(),
            issued: self.acme_certificate().is_some(),
            retry_at: failure
                .as_ref()
                .map(|failure| format_date(failure.retry_at)),
            failure: failure.map(|failure| failure.error),
        })
    }

    /// Returns a sentence about the ACME client if someone must act: it has no certificate yet,
    /// or cannot renew one that expires soon.
    pub(crate) fn acme_problem(&self) -> Option<String> {
        let report = self.acme()?;
        let names = report.domains.join(", ");
        let retry = report.retry_at.unwrap_or_default();
        let now = SystemTime::now();
        match (self.acme_certificate(), report.failure) {
            (None, None) => Some(format!(
                "ACME has no certificate for {names} yet: the first order is not finished"
            )),
            (None, Some(failure)) => Some(format!(
                "ACME has no certificate for {names} yet: {failure}; the next attempt is at {retry}"
            )),
            (Some(loaded), Some(failure))
                if CertificateExpiry::new(&loaded, now).urgency() != Urgency::None =>
            {
                Some(format!(
                    "ACME cannot renew the certificate for {names}: {failure}; the next attempt is \
                     at {retry}"
                ))
            }
            (Some(_), _) => None,
        }
    }
}
