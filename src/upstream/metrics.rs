//! The metrics of upstreams, which are read at each scrape.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::registry::Unit;

use super::Upstream;
use crate::metrics::FamilyEncoder;

/// The metrics of upstreams by their names.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, Upstream>);

#[derive(Debug, EncodeLabelSet)]
struct UpstreamLabel {
    upstream: String,
}

impl Metrics {
    /// Creates the metrics of `upstreams`.
    pub(crate) fn new(upstreams: BTreeMap<String, Upstream>) -> Self {
        Self(upstreams)
    }

    /// Returns the label of each upstream that has a value, with the value.
    fn rows(
        &self,
        value: impl Fn(&Upstream) -> Option<f64>,
    ) -> impl Iterator<Item = (UpstreamLabel, f64)> {
        let row = move |(name, client): (&String, &Upstream)| {
            let upstream = name.clone();
            Some((UpstreamLabel { upstream }, value(client)?))
        };
        self.0.iter().filter_map(row)
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        families.encode_gauges(
            "upstream_up",
            "Whether the last request or check got a response; absent before the first one",
            None,
            self.rows(|upstream| {
                let health = upstream.health();
                let is_up = f64::from(health.failure().is_none());
                health.is_contacted().then_some(is_up)
            }),
        )?;
        families.encode_gauges(
            "upstream_disk_buffer",
            "Request bodies and responses on disk",
            Some(&Unit::Bytes),
            self.rows(|upstream| Some(upstream.spooled() as f64)),
        )
    }
}
