//! Families of metrics, and the registry of all of them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::HistogramSnapshot;

/// A metric family: all samples of one name.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    rows: Vec<(Vec<(&'static str, String)>, Sample)>,
}

/// The type and unit of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A counter; `_total` is appended to the name.
    Counter,
    /// A gauge without a unit.
    Gauge,
    /// A gauge in bytes; `_bytes` is appended to the name.
    Bytes,
    /// A gauge with a Unix timestamp; `_seconds` is appended to the name.
    Time,
    /// A histogram of seconds; `_seconds` is appended to the name.
    Seconds,
}

/// The value of one sample.
#[derive(Clone, Debug)]
pub enum Sample {
    /// The value of a counter or gauge.
    Number(f64),
    /// The value of a histogram.
    Histogram(HistogramSnapshot),
}

impl Family {
    /// Creates a family of the samples `rows`, each with its labels. `name` has neither the
    /// prefix `pwd_edge_` nor a unit or `_total`: [`registry`] adds them.
    pub fn new(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        rows: Vec<(Vec<(&'static str, String)>, Sample)>,
    ) -> Self {
        Self {
            name,
            help,
            kind,
            rows,
        }
    }

    /// Creates a gauge with a single sample and no labels.
    pub fn gauge(name: &'static str, help: &'static str, number: f64) -> Self {
        let rows = vec![(Vec::new(), Sample::Number(number))];
        Self::new(name, help, Kind::Gauge, rows)
    }
}

/// Returns a registry of all metrics. Names of `ours` get the prefix `pwd_edge_`; `common` has
/// those that every process reports under the same names, such as `process_cpu_seconds`.
pub fn registry(ours: Vec<Family>, common: Vec<Family>) -> Registry {
    let mut registry = Registry::default();
    let prefixed = registry.sub_registry_with_prefix("pwd_edge");
    prefixed.register_collector(Box::new(Snapshot(ours)));
    registry.register_collector(Box::new(Snapshot(common)));
    registry
}

#[derive(Debug)]
struct Snapshot(Vec<Family>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|family| family.encode(&mut encoder))
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (kind, unit) = match self.kind {
            Kind::Counter => (MetricType::Counter, None),
            Kind::Gauge => (MetricType::Gauge, None),
            Kind::Bytes => (MetricType::Gauge, Some(Unit::Bytes)),
            Kind::Time => (MetricType::Gauge, Some(Unit::Seconds)),
            Kind::Seconds => (MetricType::Histogram, Some(Unit::Seconds)),
        };
        let mut metric = encoder.encode_descriptor(self.name, self.help, unit.as_ref(), kind)?;
        for (labels, sample) in &self.rows {
            if labels.is_empty() {
                self.encode_row(&mut metric, sample)?
            } else {
                self.encode_row(&mut metric.encode_family(labels)?, sample)?
            }
        }
        Ok(())
    }

    fn encode_row(&self, row: &mut MetricEncoder<'_>, sample: &Sample) -> fmt::Result {
        match sample {
            Sample::Number(number) if self.kind == Kind::Counter => {
                row.encode_counter::<NoLabelSet, f64, u64>(number, None)
            }
            Sample::Number(number) => row.encode_gauge(number),
            Sample::Histogram(read) => {
                row.encode_histogram::<NoLabelSet>(read.sum, read.count(), &read.steps, None)
            }
        }
    }
}
