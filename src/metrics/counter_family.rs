//! A family of counters whose values the edge reads for its own reports.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Counters by the labels `L`. Cheap to clone; clones share the counters.
///
/// Unlike `prometheus_client`'s `Family` it can list its counters, which `status` needs. Code
/// on a hot path holds the counter, because each lookup takes a lock.
#[derive(Debug)]
pub(crate) struct CounterFamily<L>(Arc<RwLock<BTreeMap<L, Counter>>>);

impl<L: Clone + Ord> CounterFamily<L> {
    /// Returns the counter of `labels`, which begins at 0.
    pub(crate) fn get_or_create(&self, labels: &L) -> Counter {
        if let Some(counter) = self.0.read().get(labels) {
            return counter.clone();
        }
        self.0.write().entry(labels.clone()).or_default().clone()
    }

    /// Returns the counts by their labels.
    pub(crate) fn values(&self) -> BTreeMap<L, u64> {
        let counters = self.0.read();
        let values = counters
            .iter()
            .map(|(labels, counter)| (labels.clone(), counter.get()));
        values.collect()
    }
}

impl<L> Clone for CounterFamily<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L> Default for CounterFamily<L> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<L> TypedMetric for CounterFamily<L> {
    const TYPE: MetricType = MetricType::Counter;
}

impl<L: EncodeLabelSet> EncodeMetric for CounterFamily<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counters = self.0.read();
        counters
            .iter()
            .try_for_each(|(labels, counter)| counter.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
