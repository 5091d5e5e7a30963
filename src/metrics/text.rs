//! Encoding of metrics in the OpenMetrics text format, for Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::HistogramSnapshot;

/// The media type of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
    /// prefix `pwd_edge_` nor a unit or `_total`: [`text`] adds them.
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

/// Encodes all metrics. Names of `ours` get the prefix `pwd_edge_`; `common` has those that
/// every process reports under the same names, such as `process_cpu_seconds`.
pub fn text(ours: Vec<Family>, common: Vec<Family>) -> String {
    let mut registry = Registry::default();
    let prefixed = registry.sub_registry_with_prefix("pwd_edge");
    prefixed.register_collector(Box::new(Snapshot(ours)));
    registry.register_collector(Box::new(Snapshot(common)));
    let mut text = String::new();
    // Writing to a `String` never fails.
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
    fn metrics_text_follows_the_openmetrics_conventions() {
        let metrics = Metrics::default();
        metrics.closes.add("slow");
        metrics.deliveries.add(3);
        let route = metrics.requests.route(&"/".into());
        route.record_response(200, Duration::from_millis(3));
        let mut families = metrics.families();
        families.push(Family::gauge("websocket_sessions", "Open sessions", 2.0));
        let files = Family::gauge("process_open_fds", "Open files", 9.0);
        let text = text(families, vec![files]);
        for line in [
            "# HELP pwd_edge_websocket_sessions_closed Closed WebSocket sessions by reason",
            "# TYPE pwd_edge_websocket_sessions_closed counter",
            "pwd_edge_websocket_sessions_closed_total{reason=\"slow\"} 1.0",
            "pwd_edge_websocket_events_delivered_total 3.0",
            "# UNIT pwd_edge_http_request_duration_seconds seconds",
            "pwd_edge_http_requests_total{route=\"/\",status=\"2xx\"} 1.0",
            "pwd_edge_http_request_duration_seconds_bucket{le=\"0.005\",route=\"/\"} 1",
            "pwd_edge_http_request_duration_seconds_bucket{le=\"+Inf\",route=\"/\"} 1",
            "pwd_edge_http_request_duration_seconds_count{route=\"/\"} 1",
            "pwd_edge_websocket_sessions 2.0",
            "process_open_fds 9.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
