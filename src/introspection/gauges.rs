//! Everything that monitoring asks for.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Introspection, process};
use crate::metrics::{self, Family, Kind, Sample};

impl Introspection {
    /// All counters and what is as it is just now, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        let (queued, longest) = self.sessions.queued_events();
        let gauge = |name, help, number: usize| Family::gauge(name, help, number as f64);
        let mut all = self.metrics.families();
        all.extend([
            gauge("connections", "Open connections", self.connections.in_use()),
            gauge("sessions", "Open WebSocket sessions", self.sessions.count()),
            gauge("rooms", "Rooms with somebody in them", self.rooms.count()),
            gauge(
                "queued_events",
                "Events that wait for clients to read them",
                queued,
            ),
            gauge(
                "longest_queue_events",
                "Events that wait for the slowest client",
                longest,
            ),
            gauge(
                "configurations",
                "Configurations that open connections still use",
                Arc::strong_count(&self.used) - 1,
            ),
            gauge(
                "stopping",
                "Whether the edge is stopping",
                self.drain.is_stopping().into(),
            ),
            Family::new(
                "log_lines_lost",
                "Lines of the log that were lost because nobody read them",
                Kind::Counter,
                vec![(Vec::new(), Sample::Number(self.lost_lines.read() as f64))],
            ),
            self.upstream_health(),
            self.spooled(),
            self.certificate_ends(),
            Family::new(
                "config_loaded_timestamp",
                "When the configuration in use was read",
                Kind::Time,
                vec![(Vec::new(), Sample::Number(unix(self.about.loaded)))],
            ),
            Family::new(
                "build_info",
                "The version that runs",
                Kind::Gauge,
                vec![(
                    vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
                    Sample::Number(1.0),
                )],
            ),
        ]);
        metrics::text(all, process::families(self.about.began))
    }

    fn upstream_health(&self) -> Family {
        let rows = self.upstreams.iter().map(|(name, upstream)| {
            let healthy = f64::from(u8::from(upstream.health().failure().is_none()));
            (vec![("upstream", name.clone())], Sample::Number(healthy))
        });
        let help = "Whether the last request that could tell was answered";
        Family::new("upstream_healthy", help, Kind::Gauge, rows.collect())
    }

    fn spooled(&self) -> Family {
        let rows = self.upstreams.iter().map(|(name, upstream)| {
            let spooled = upstream.spooled() as f64;
            (vec![("upstream", name.clone())], Sample::Number(spooled))
        });
        let help = "Request bodies and responses on disk";
        Family::new("spool", help, Kind::Bytes, rows.collect())
    }

    fn certificate_ends(&self) -> Family {
        let rows = self.certificates.expiry().into_iter().map(|certificate| {
            let names = certificate.names.join(",");
            let issuer = certificate.issuer.clone();
            let left = certificate.days_left as f64;
            (
                vec![("names", names), ("issuer", issuer)],
                Sample::Number(left),
            )
        });
        let help = "Whole days until the certificate ends";
        Family::new("certificate_days_left", help, Kind::Gauge, rows.collect())
    }
}

pub(super) fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
