//! The metrics of certificates, which are read at each scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::registry::Unit;

use super::Certificates;
use crate::metrics::{FamilyEncoder, unix_seconds};

/// The metrics of the certificates in use.
#[derive(Debug)]
pub(crate) struct Metrics(Arc<Certificates>);

#[derive(Debug, EncodeLabelSet)]
struct CertificateLabels {
    names: String,
    issuer: String,
}

impl Metrics {
    /// Creates the metrics of `certificates`.
    pub(crate) fn new(certificates: Arc<Certificates>) -> Self {
        Self(certificates)
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.0.expiry().into_iter().map(|certificate| {
            let names = certificate.names.join(",");
            let issuer = certificate.issuer.clone();
            let labels = CertificateLabels { names, issuer };
            (labels, unix_seconds(certificate.expires_at))
        });
        // 0 for a missing certificate: an alert on the expiry covers that it was never issued.
        let missing = self.0.missing_names().map(|names| {
            let (names, issuer) = (names.join(","), String::new());
            (CertificateLabels { names, issuer }, 0.0)
        });
        FamilyEncoder::new(encoder).encode_gauges(
            "certificate_not_after_timestamp",
            "Unix time at which the first certificate of the chain expires; 0 if ACME has none yet",
            Some(&Unit::Seconds),
            rows.chain(missing),
        )
    }
}
