//! The metrics of rooms, of delivery and of the registry of sessions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Unit;

use super::{EventKind, Rooms, Sessions};
use crate::metrics::{CounterFamily, FamilyEncoder, Histogram, TypeLabel};

/// The counters of events that are published, by their type.
#[derive(Debug)]
pub(crate) struct PublishCounters {
    family: Family<TypeLabel, Counter>,
    /// Events of Laravel.
    pub(crate) broadcast: Counter,
    /// Reports that a user has seen a message.
    pub(crate) seen: Counter,
    /// Reports that a user types or has stopped.
    pub(crate) typing: Counter,
    /// Events of Pusher clients.
    pub(crate) client_event: Counter,
}

impl Default for PublishCounters {
    fn default() -> Self {
        let family = Family::default();
        let counter = |r#type| family.get_or_create_owned(&TypeLabel { r#type });
        Self {
            broadcast: counter("broadcast"),
            seen: counter("seen"),
            typing: counter("typing"),
            client_event: counter("client_event"),
            family,
        }
    }
}

/// The metrics of publications that sessions write to their clients.
///
/// The counters are looked up once: a lookup takes a lock, and every publication counts for
/// every session that gets it.
#[derive(Debug)]
pub struct DeliveryMetrics {
    broadcast: Counter,
    seen: Counter,
    typing: Counter,
    client_event: Counter,
    user_joined: Counter,
    user_left: Counter,
    delivered: Counter,
    durations: Histogram,
}

impl DeliveryMetrics {
    /// Creates the metrics, which count in `sent` by the types of the protocol.
    pub(crate) fn new(sent: &CounterFamily<TypeLabel>) -> Self {
        let counter = |r#type| sent.get_or_create(&TypeLabel { r#type });
        Self {
            // Laravel chooses the types of its events freely, so all count under one.
            broadcast: counter("broadcast"),
            seen: counter("message_status_update"),
            typing: counter("typing_indicator"),
            client_event: counter("client_event"),
            user_joined: counter("user_joined"),
            user_left: counter("user_left"),
            delivered: Counter::default(),
            durations: Histogram::default(),
        }
    }

    /// Counts a publication that a session sends to its client.
    pub fn count_publication(&self, kind: &EventKind) {
        let counter = match kind {
            EventKind::Broadcast(_) => &self.broadcast,
            EventKind::Seen { .. } => &self.seen,
            EventKind::Typing { .. } => &self.typing,
            EventKind::Client { .. } => &self.client_event,
            EventKind::UserJoined(_) => &self.user_joined,
            EventKind::UserLeft(_) => &self.user_left,
        };
        counter.inc();
    }

    /// Counts `count` publications that one write has completed, the first of which was
    /// published `duration` before.
    pub fn record_delivery(&self, count: u64, duration: Duration) {
        self.delivered.inc_by(count);
        self.durations.observe(duration);
    }

    /// Returns the number of publications written to sessions.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.get()
    }
}

impl Default for DeliveryMetrics {
    fn default() -> Self {
        Self::new(&CounterFamily::default())
    }
}

impl Collector for DeliveryMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        families.encode(
            "websocket_events_delivered",
            "Published events written to sessions",
            &self.delivered,
        )?;
        families.encode_with_unit(
            "websocket_delivery_duration",
            "From publishing an event to its last byte on a session's socket",
            &Unit::Seconds,
            &self.durations,
        )
    }
}

/// The metrics of rooms and sessions, most of which are read at each scrape.
#[derive(Debug)]
pub struct Metrics {
    rooms: Arc<Rooms>,
    sessions: Sessions,
}

impl Metrics {
    /// Creates the metrics of `rooms` and `sessions`.
    pub(crate) fn new(rooms: Arc<Rooms>, sessions: Sessions) -> Self {
        Self { rooms, sessions }
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        let (queued, longest) = self.sessions.queued_events();
        families.encode(
            "room_events_published",
            "Published events by type",
            &self.rooms.published().family,
        )?;
        families.encode_gauge(
            "websocket_sessions",
            "Open WebSocket sessions",
            self.sessions.count() as u64,
        )?;
        families.encode_gauge(
            "rooms",
            "Rooms with at least one session",
            self.rooms.count() as u64,
        )?;
        if let Some(history) = self.rooms.history_usage() {
            history.encode(&mut families)?;
        }
        families.encode_gauge(
            "websocket_send_queue_events",
            "Events in the send queues of all sessions",
            queued as u64,
        )?;
        families.encode_gauge(
            "websocket_send_queue_max_events",
            "Events in the longest send queue",
            longest as u64,
        )
    }
}
