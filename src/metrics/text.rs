//! The text that Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::HistogramSnapshot;

/// The media type of [`text`] (OpenMetrics).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Numbers of one name.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    rows: Vec<(Vec<(&'static str, String)>, Sample)>,
}

/// What sort of numbers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow; `_total` is added to the name.
    Counter,
    /// They are as they are now.
    Gauge,
    /// They are as they are now, in bytes; `_bytes` is added to the name.
    Bytes,
    /// They are moments in Unix time; `_seconds` is added to the name.
    Time,
    /// They are histograms of seconds; `_seconds` is added to the name.
    Seconds,
}

/// One number, or one histogram.
#[derive(Clone, Debug)]
pub enum Sample {
    /// A number.
    Number(f64),
    /// A histogram.
    Histogram(HistogramSnapshot),
}

impl Family {
    /// The numbers `rows`, each with its labels. The name is without a prefix
    /// before it and without unit and `_total` after it.
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

    /// One number as it is now.
    pub fn gauge(name: &'static str, help: &'static str, number: f64) -> Self {
        let rows = vec![(Vec::new(), Sample::Number(number))];
        Self::new(name, help, Kind::Gauge, rows)
    }
}

/// What is ours, and what all processes tell under the same names, as Prometheus
/// reads it.
pub fn text(ours: Vec<Family>, common: Vec<Family>) -> String {
    let mut registry = Registry::default();
    let prefixed = registry.sub_registry_with_prefix("pwd_edge");
    prefixed.register_collector(Box::new(Snapshot(ours)));
    registry.register_collector(Box::new(Snapshot(common)));
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Metrics;
    use super::*;

    #[test]
    fn names_units_and_helps_follow_the_conventions() {
        let metrics = Metrics::default();
        metrics.closes.add("slow");
        metrics.deliveries.add(3);
        let route = metrics.requests.route(&"/".into());
        route.record_response(200, Duration::from_millis(3));
        let mut families = metrics.families();
        families.push(Family::gauge("sessions", "Open sessions", 2.0));
        let files = Family::gauge("process_open_fds", "Open files", 9.0);
        let text = text(families, vec![files]);
        for line in [
            "# HELP pwd_edge_session_ends Ended WebSocket sessions by reason",
            "# TYPE pwd_edge_session_ends counter",
            "pwd_edge_session_ends_total{reason=\"slow\"} 1.0",
            "pwd_edge_deliveries_total 3.0",
            "# UNIT pwd_edge_http_request_seconds seconds",
            "pwd_edge_http_requests_total{route=\"/\",status=\"2xx\"} 1.0",
            "pwd_edge_http_request_seconds_bucket{le=\"0.005\",route=\"/\"} 1",
            "pwd_edge_http_request_seconds_bucket{le=\"+Inf\",route=\"/\"} 1",
            "pwd_edge_http_request_seconds_count{route=\"/\"} 1",
            "pwd_edge_sessions 2.0",
            "process_open_fds 9.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
