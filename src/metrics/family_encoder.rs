//! The encoding of families, one after another.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Encodes the families of a collector.
///
/// `Registry::register` leaves out a family that has no counters yet; this encoder announces
/// it. So monitoring finds every name from the start.
#[derive(Debug)]
pub(crate) struct FamilyEncoder<'a>(DescriptorEncoder<'a>);

impl<'a> FamilyEncoder<'a> {
    /// Creates an encoder that writes to `encoder`.
    pub(crate) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Encodes `metric`. The name of a counter gets the suffix `_total`.
    ///
    /// # Errors
    /// The underlying writer fails; a `String` never does.
    pub(crate) fn encode(
        &mut self,
        name: &str,
        help: &str,
        metric: &impl EncodeMetric,
    ) -> fmt::Result {
        metric.encode(
            self.0
                .encode_descriptor(name, help, None, metric.metric_type())?,
        )
    }

    /// Encodes `metric`, whose name gets the suffix of `unit`.
    ///
    /// # Errors
    /// Those of [`FamilyEncoder::encode`].
    pub(crate) fn encode_with_unit(
        &mut self,
        name: &str,
        help: &str,
        unit: &Unit,
        metric: &impl EncodeMetric,
    ) -> fmt::Result {
        let kind = metric.metric_type();
        metric.encode(self.0.encode_descriptor(name, help, Some(unit), kind)?)
    }

    /// Encodes a gauge without labels.
    ///
    /// # Errors
    /// Those of [`FamilyEncoder::encode`].
    pub(crate) fn encode_gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.encode(name, help, &ConstGauge::new(value))
    }

    /// Encodes the gauges `rows`, each with its labels.
    ///
    /// # Errors
    /// Those of [`FamilyEncoder::encode`].
    pub(crate) fn encode_gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        rows.into_iter()
            .try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }
}

/// Returns `at` as Unix time in seconds; 0 for times before 1970.
pub(crate) fn unix_seconds(at: SystemTime) -> f64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::super::{CounterFamily, Histogram, ReasonLabel};
    use super::*;

    #[derive(Debug, Default)]
    struct Metrics {
        closed: CounterFamily<ReasonLabel>,
        rejected: CounterFamily<ReasonLabel>,
        duration: Histogram,
    }

    impl Collector for Metrics {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut families = FamilyEncoder::new(encoder);
            families.encode("closed", "Closed by reason", &self.closed)?;
            families.encode("rejected", "Rejected by reason", &self.rejected)?;
            families.encode_with_unit("duration", "To the end", &Unit::Seconds, &self.duration)?;
            families.encode_gauge("open", "Open", 2)
        }
    }

    #[test]
    fn families_follow_the_openmetrics_conventions() {
        let metrics = Metrics::default();
        let slow = ReasonLabel { reason: "slow" };
        metrics.closed.get_or_create(&slow).inc_by(3);
        metrics.duration.observe(Duration::from_millis(3));
        let mut registry = Registry::with_prefix("edge");
        registry.register_collector(Box::new(metrics));
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        for line in [
            "# HELP edge_closed Closed by reason",
            "# TYPE edge_closed counter",
            "edge_closed_total{reason=\"slow\"} 3",
            "# TYPE edge_rejected counter",
            "# TYPE edge_duration_seconds histogram",
            "# UNIT edge_duration_seconds seconds",
            "edge_duration_seconds_bucket{le=\"0.0025\"} 0",
            "edge_duration_seconds_bucket{le=\"0.005\"} 1",
            "edge_duration_seconds_bucket{le=\"+Inf\"} 1",
            "edge_duration_seconds_sum 0.003",
            "edge_duration_seconds_count 1",
            "# TYPE edge_open gauge",
            "edge_open 2",
            "# EOF",
        ] {
            assert!(encoded.lines().any(|one| one == line), "{line}\n{encoded}");
        }
    }
}
