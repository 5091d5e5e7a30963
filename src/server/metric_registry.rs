//! The registry of the metrics of all modules, and the metrics of the state of the server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::AllMetrics;
use super::process::Process;
use crate::introspection::ProcessMetrics;
use crate::limit::ConcurrencyLimit;
use crate::metrics::{FamilyEncoder, unix_seconds};
use crate::rooms;
use crate::runtime::drain::Drain;
use crate::tls::{self, Certificates};
use crate::upstream::{self, Upstream};
/// The state of the process under one configuration, read at each scrape.
#[derive(Debug)]
struct StateMetrics {
    connections: ConcurrencyLimit,
    drain: Drain,
    /// The token whose references count the configurations in use: one of each configuration,
    /// which this is, and one of the process.
    used: Arc<()>,
    loaded: SystemTime,
}

#[derive(Debug, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

impl Collector for StateMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        let (open, used) = (self.connections.in_use(), Arc::strong_count(&self.used) - 1);
        families.encode_gauge("connections", "Open connections", open as u64)?;
        families.encode_gauge(
            "config_generations",
            "Configurations that open connections still use",
            used as u64,
        )?;
        families.encode_gauge(
            "draining",
            "Whether the edge shuts down",
            self.drain.is_stopping().into(),
        )?;
        families.encode_with_unit(
            "config_loaded_timestamp",
            "Unix time at which the configuration in use was loaded",
            &Unit::Seconds,
            &ConstGauge::new(unix_seconds(self.loaded)),
        )?;
        let version = env!("CARGO_PKG_VERSION");
        let rows = [(VersionLabel { version }, 1.0)];
        families.encode_gauges("build_info", "The version that runs", None, rows)
    }
}

/// Returns the registry of all metrics under a configuration with these parts.
pub(super) fn metric_registry(
    process: &Process,
    upstreams: BTreeMap<String, Upstream>,
    certificates: Arc<Certificates>,
    loaded: SystemTime,
) -> Registry {
    let AllMetrics {
        server,
        http,
        ws,
        auth,
        limit,
    } = process.metrics.clone();
    let state = StateMetrics {
        connections: process.connections.clone(),
        drain: process.drain.clone(),
        used: Arc::clone(&process.used),
        loaded,
    };
    let rooms = rooms::Metrics::new(Arc::clone(&process.rooms), process.sessions.clone());
    let collectors: [Box<dyn Collector>; 11] = [
        Box::new(server),
        Box::new(state),
        Box::new(http),
        Box::new(ws.delivery()),
        Box::new(ws),
        Box::new(rooms),
        Box::new(auth),
        Box::new(limit),
        Box::new(upstream::Metrics::new(upstreams)),
        Box::new(tls::Metrics::new(certificates)),
        Box::new(process.origin.log_metrics.clone()),
    ];
    let mut registry = Registry::default();
    let edge = registry.sub_registry_with_prefix("pwd_edge");
    for collector in collectors {
        edge.register_collector(collector);
    }
    // The names of these are those of all Prometheus client libraries.
    registry.register_collector(Box::new(ProcessMetrics::new(process.began)));
    registry
}
