//! The metrics of WebSocket sessions.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::CloseReason;
use crate::metrics::{CounterFamily, FamilyEncoder, ReasonLabel, ResultLabel, TypeLabel};
use crate::rooms::DeliveryMetrics;

/// The metrics of sessions, their messages and their events.
#[derive(Debug)]
pub(crate) struct Metrics {
    closed: CounterFamily<ReasonLabel>,
    received: CounterFamily<TypeLabel>,
    sent: CounterFamily<TypeLabel>,
    /// Counts the publications among `sent`.
    delivery: Arc<DeliveryMetrics>,
    joins: Family<ResultLabel, Counter>,
    recoveries: Family<ResultLabel, Counter>,
    resumed_sessions: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let sent = CounterFamily::default();
        Self {
            delivery: Arc::new(DeliveryMetrics::new(&sent)),
            closed: CounterFamily::default(),
            received: CounterFamily::default(),
            sent,
            joins: Family::default(),
            recoveries: Family::default(),
            resumed_sessions: Counter::default(),
        }
    }
}

impl Metrics {
    /// Counts a session that has ended.
    pub(super) fn count_close(&self, reason: CloseReason) {
        let reason = reason.name();
        self.closed.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a message of a client by its type, or by the code of its error.
    pub(super) fn count_message(&self, r#type: &'static str) {
        self.received.get_or_create(&TypeLabel { r#type }).inc();
    }

    /// Counts an event from a session to its own client.
    pub(super) fn count_event(&self, r#type: &'static str) {
        self.sent.get_or_create(&TypeLabel { r#type }).inc();
    }

    /// Counts a request to join a room.
    pub(super) fn count_join(&self, result: &'static str) {
        self.joins.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a join with the position of an earlier session, be it the client's or the edge's.
    pub(super) fn count_recovery(&self, result: &'static str) {
        self.recoveries.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a session that continues a lost one of a client without positions.
    pub(super) fn count_resumed_session(&self) {
        self.resumed_sessions.inc();
    }

    /// Returns the metrics of publications that sessions deliver.
    pub(crate) fn delivery(&self) -> Arc<DeliveryMetrics> {
        Arc::clone(&self.delivery)
    }

    /// Returns the number of ended sessions, by reason.
    pub(crate) fn closed(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.closed.values().into_iter();
        counts.map(|(label, count)| (label.reason, count)).collect()
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        families.encode(
            "websocket_sessions_closed",
            "Closed WebSocket sessions by reason",
            &self.closed,
        )?;
        families.encode(
            "websocket_messages_received",
            "Messages from WebSocket clients by type or error",
            &self.received,
        )?;
        families.encode(
            "websocket_messages_sent",
            "Events sent to WebSocket clients by type",
            &self.sent,
        )?;
        families.encode(
            "websocket_sessions_resumed",
            "Sessions that continue a lost one of a client without positions",
            &self.resumed_sessions,
        )?;
        families.encode(
            "room_recoveries",
            "Joins with the position of an earlier session, by result",
            &self.recoveries,
        )?;
        families.encode(
            "room_joins",
            "Requests to join a room by result",
            &self.joins,
        )
    }
}
