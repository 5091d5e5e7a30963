//! The metrics of requests about rights.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::metrics::FamilyEncoder;

/// The metrics of requests to Laravel about users and rooms.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    kind: &'static str,
    result: &'static str,
}

impl Metrics {
    /// Counts a request about a `kind` of right with its `result`.
    pub(super) fn count_request(&self, kind: &'static str, result: &'static str) {
        let labels = RequestLabels { kind, result };
        self.requests.get_or_create(&labels).inc();
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        FamilyEncoder::new(encoder).encode(
            "auth_requests",
            "Authorization requests to Laravel by kind and result",
            &self.requests,
        )
    }
}
