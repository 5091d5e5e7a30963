//! The metrics of connections and reloads, and those of all modules together.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::introspection::Totals;
use crate::metrics::{CounterFamily, FamilyEncoder, ReasonLabel, ResultLabel};
use crate::{auth, http, limit, ws};

/// The metrics of all modules whose counts outlive a configuration. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct AllMetrics {
    pub(super) server: Arc<Metrics>,
    pub(super) http: Arc<http::Metrics>,
    pub(super) ws: Arc<ws::Metrics>,
    pub(super) auth: Arc<auth::Metrics>,
    pub(super) limit: Arc<limit::Metrics>,
}

/// The metrics of connections and reloads.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    accepted: Counter,
    rejected: CounterFamily<ReasonLabel>,
    handshakes: Family<ResultLabel, Counter>,
    reloads: CounterFamily<ResultLabel>,
}

impl Metrics {
    /// Counts an accepted connection.
    pub(super) fn count_accepted(&self) {
        self.accepted.inc();
    }

    /// Counts a connection that was closed before TLS.
    pub(super) fn count_rejection(&self, reason: &'static str) {
        self.rejected.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a TLS handshake.
    pub(super) fn count_handshake(&self, result: &'static str) {
        self.handshakes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a reload of the configuration.
    pub(super) fn count_reload(&self, result: &'static str) {
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        families.encode(
            "connections_accepted",
            "Connections that were accepted",
            &self.accepted,
        )?;
        families.encode(
            "connections_rejected",
            "Connections that were closed before TLS",
            &self.rejected,
        )?;
        families.encode(
            "tls_handshakes",
            "TLS handshakes by result",
            &self.handshakes,
        )?;
        families.encode(
            "config_reloads",
            "Reloads of the configuration by result",
            &self.reloads,
        )
    }
}

impl AllMetrics {
    /// Returns the counts that the status reports.
    pub(super) fn totals(&self) -> Totals {
        let reloads = self.server.reloads.values().into_iter();
        let mut rejections = self.http.rejections();
        for (label, count) in self.server.rejected.values() {
            *rejections.entry(label.reason).or_insert(0) += count;
        }
        Totals {
            requests: self.http.requests(),
            deliveries: self.ws.delivery().delivered(),
            sessions_closed: self.ws.closed(),
            limits_exceeded: self.limit.exceeded(),
            reloads: reloads
                .map(|(label, count)| (label.result, count))
                .collect(),
            rejections,
        }
    }
}
