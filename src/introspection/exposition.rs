//! The metrics of the edge for Prometheus.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::registry::Registry;

use super::{Introspection, process};
use crate::metrics::{self, Family, Kind, Sample};

impl Introspection {
    /// Returns all counters, and gauges of the current state.
    pub fn metrics(&self) -> Registry {
        let (queued, longest) = self.sessions.queued_events();
        let gauge = |name, help, number: usize| Family::gauge(name, help, number as f64);
        let mut all = self.metrics.families();
        all.extend([
            gauge("connections", "Open connections", self.connections.in_use()),
            gauge(
                "websocket_sessions",
                "Open WebSocket sessions",
                self.sessions.count(),
            ),
            gauge(
                "rooms",
                "Rooms with at least one session",
                self.rooms.count(),
            ),
            gauge(
                "websocket_send_queue_events",
                "Events in the send queues of all sessions",
                queued,
            ),
            gauge(
                "websocket_send_queue_max_events",
                "Events in the longest send queue",
                longest,
            ),
            gauge(
                "config_generations",
                "Configurations that open connections still use",
                Arc::strong_count(&self.used) - 1,
            ),
            gauge(
                "draining",
                "Whether the edge shuts down",
                self.drain.is_stopping().into(),
            ),
            Family::new(
                "log_events_dropped",
                "Log events that were dropped because the reader was too slow",
                Kind::Counter,
                vec![(Vec::new(), Sample::Number(self.lost_lines.read() as f64))],
            ),
            self.upstream_health(),
            self.spooled(),
            self.certificate_expiry(),
            Family::new(
                "config_loaded_timestamp",
                "Unix time at which the configuration in use was loaded",
                Kind::Time,
                vec![(Vec::new(), Sample::Number(unix(self.about.loaded)))],
            ),
            build_info(),
        ]);
        metrics::registry(all, process::families(self.about.began))
    }

    fn upstream_health(&self) -> Family {
        let rows = self.upstreams.iter().map(|(name, upstream)| {
            let healthy = f64::from(u8::from(upstream.health().failure().is_none()));
            (vec![("upstream", name.clone())], Sample::Number(healthy))
        });
        let help = "Whether the last request or health check got a response";
        Family::new("upstream_up", help, Kind::Gauge, rows.collect())
    }

    fn spooled(&self) -> Family {
        let rows = self.upstreams.iter().map(|(name, upstream)| {
            let spooled = upstream.spooled() as f64;
            (vec![("upstream", name.clone())], Sample::Number(spooled))
        });
        let help = "Request bodies and responses on disk";
        Family::new("upstream_disk_buffer", help, Kind::Bytes, rows.collect())
    }

    fn certificate_expiry(&self) -> Family {
        let rows = self.certificates.expiry().into_iter().map(|certificate| {
            let names = certificate.names.join(",");
            let issuer = certificate.issuer.clone();
            (
                vec![("names", names), ("issuer", issuer)],
                Sample::Number(unix(certificate.expires_at)),
            )
        });
        let help = "Unix time at which the certificate expires";
        let name = "certificate_not_after_timestamp";
        Family::new(name, help, Kind::Time, rows.collect())
    }
}

fn build_info() -> Family {
    Family::new(
        "build_info",
        "The version that runs",
        Kind::Gauge,
        vec![(
            vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
            Sample::Number(1.0),
        )],
    )
}

/// Returns `at` as Unix time in seconds; 0 for times before 1970.
pub(super) fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
