//! The metrics of exceeded limits.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};

use super::Limit;
use crate::metrics::{CounterFamily, FamilyEncoder};

/// The metrics of the limits of clients.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    exceeded: CounterFamily<ExceededLabels>,
    delayed: CounterFamily<DelayedLabels>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct DelayedLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ExceededLabels {
    limit: &'static str,
    enforced: bool,
}

impl Metrics {
    /// Counts that a client has exceeded `limit`, which is enforced or in a dry run.
    pub(super) fn count_exceeded(&self, limit: Limit, enforced: bool) {
        let limit = limit.name();
        let labels = ExceededLabels { limit, enforced };
        self.exceeded.get_or_create(&labels).inc();
    }

    /// Counts a request that waits because its client is above the burst of `limit`.
    pub(super) fn count_delayed(&self, limit: Limit) {
        let limit = limit.name();
        self.delayed.get_or_create(&DelayedLabels { limit }).inc();
    }

    /// Returns how often clients exceeded limits, by the limit's name, dry runs included.
    pub(crate) fn exceeded(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (labels, count) in self.exceeded.values() {
            *all.entry(labels.limit).or_insert(0) += count;
        }
        all
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = FamilyEncoder::new(encoder);
        encoder.encode(
            "limit_delayed",
            "Requests that waited because their client was above the burst of a limit",
            &self.delayed,
        )?;
        encoder.encode(
            "limit_exceeded",
            "Times that a client exceeded a limit, enforced or in a dry run",
            &self.exceeded,
        )
    }
}
