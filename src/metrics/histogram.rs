//! A lock-free histogram of durations with fixed buckets.
//!
//! That of `prometheus_client` takes a lock for each observation, and every delivery to every
//! session is one (`docs/decisions/0022-metric-types.md`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper bounds of the buckets in seconds, from half a millisecond to a minute, each
/// 2 to 6 times the one before.
const BUCKET_BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// A histogram of durations. Cheap to clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// The count of each bucket of [`BUCKET_BOUNDS`], not cumulative, and of longer durations.
    ///
    /// Counts and sum are independent atomics, so a scrape may have counted an observation
    /// in one of them only. Prometheus tolerates that.
    buckets: [AtomicU64; BUCKET_BOUNDS.len() + 1],
    /// The sum of all durations in microseconds.
    sum: AtomicU64,
}

impl Histogram {
    /// Records one duration.
    pub(crate) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BUCKET_BOUNDS.iter().position(|end| seconds <= *end);
        self.0.buckets[bucket.unwrap_or(BUCKET_BOUNDS.len())].fetch_add(1, Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.sum.fetch_add(micros, Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let ends = BUCKET_BOUNDS.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = ends.zip(counts).collect();
        // The sum of the buckets, not a count of its own: the last bucket and the count of a
        // histogram must be equal.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.0.sum.load(Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn observed_duration_falls_into_its_bucket() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut registry = Registry::default();
        registry.register("took", "Time", histogram);
        let mut encoded = String::new();
        prometheus_text::encode(&mut encoded, &registry).unwrap();
        for line in [
            "took_bucket{le=\"0.0005\"} 1",
            "took_bucket{le=\"0.001\"} 2",
            "took_bucket{le=\"0.0025\"} 3",
            "took_bucket{le=\"60\"} 3",
            "took_bucket{le=\"+Inf\"} 4",
            "took_sum 100.003",
            "took_count 4",
        ] {
            assert!(encoded.lines().any(|one| one == line), "{line}\n{encoded}");
        }
    }
}
