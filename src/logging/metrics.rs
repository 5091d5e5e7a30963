//! The metrics of the log.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;

use crate::metrics::FamilyEncoder;

/// The metrics of the log. Cheap to clone; clones share the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// Log events that were dropped because the log's reader was too slow.
    pub(super) dropped: Counter,
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        FamilyEncoder::new(encoder).encode(
            "log_events_dropped",
            "Log events that were dropped because the reader was too slow",
            &self.dropped,
        )
    }
}
