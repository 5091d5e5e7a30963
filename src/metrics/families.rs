//! The names, helps and labels under which Prometheus reads what is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Counter, Family, Histogram, Kind, LabeledCounters, Metrics, Routes, Sample};

impl Metrics {
    /// Returns all counters and histograms, for a [`registry`](super::registry).
    pub fn families(&self) -> Vec<Family> {
        let mut all: Vec<_> = self.connection_families().into();
        all.extend(self.http_families());
        all.extend(self.websocket_families());
        all
    }

    /// Returns the connections and requests that the edge rejected, by code.
    pub fn all_rejections(&self) -> BTreeMap<&'static str, u64> {
        let mut all = self.connection_rejections.read();
        for (_, reason, n) in self.requests.rejections() {
            *all.entry(reason).or_insert(0) += n;
        }
        all
    }

    /// Returns how often clients exceeded limits, by the limit's name, dry runs included.
    pub fn limits_exceeded(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for ((limit, _), n) in self.limits_exceeded.read() {
            *all.entry(limit).or_insert(0) += n;
        }
        all
    }

    fn connection_families(&self) -> [Family; 6] {
        let exceeded = self.limits_exceeded.read().into_iter();
        let exceeded = exceeded.map(|((limit, enforced), n)| {
            let labels = vec![
                ("limit", limit.to_owned()),
                ("enforced", enforced.to_string()),
            ];
            (labels, Sample::Number(n as f64))
        });
        [
            counter(
                "connections_accepted",
                "Connections that were accepted",
                &self.connections,
            ),
            counters(
                "connections_rejected",
                "Connections that were closed before TLS",
                "reason",
                &self.connection_rejections,
            ),
            counters(
                "tls_handshakes",
                "TLS handshakes by result",
                "result",
                &self.handshakes,
            ),
            Family::new(
                "limit_exceeded",
                "Times that a client exceeded a limit, enforced or in a dry run",
                Kind::Counter,
                exceeded.collect(),
            ),
            counters(
                "config_reloads",
                "Reloads of the configuration by result",
                "result",
                &self.reloads,
            ),
            self.auth_family(),
        ]
    }

    fn http_families(&self) -> Vec<Family> {
        let mut all = vec![
            self.rejection_family(),
            counters(
                "upstream_requests_failed",
                "Requests without a response from the upstream",
                "reason",
                &self.upstream_failures,
            ),
            histogram(
                "upstream_time_to_headers",
                "From sending a request to the upstream to the head of its response",
                &self.upstream_seconds,
            ),
        ];
        all.extend(self.requests.families());
        all
    }

    fn websocket_families(&self) -> [Family; 7] {
        [
            counters(
                "websocket_sessions_closed",
                "Closed WebSocket sessions by reason",
                "reason",
                &self.closes,
            ),
            counters(
                "websocket_messages_received",
                "Messages from WebSocket clients by type or error",
                "type",
                &self.commands,
            ),
            counters(
                "websocket_messages_sent",
                "Events sent to WebSocket clients by type",
                "type",
                &self.events,
            ),
            counter(
                "websocket_events_delivered",
                "Published events written to sessions",
                &self.deliveries,
            ),
            histogram(
                "websocket_delivery_duration",
                "From publishing an event to its last byte on a session's socket",
                &self.delivery_seconds,
            ),
            counters(
                "room_joins",
                "Requests to join a room by result",
                "result",
                &self.joins,
            ),
            counters(
                "room_events_published",
                "Published events by type",
                "type",
                &self.publications,
            ),
        ]
    }

    fn auth_family(&self) -> Family {
        let rows = self.auth_requests.read().into_iter();
        let rows = rows.map(|((kind, result), n)| {
            let labels = vec![("kind", kind.to_owned()), ("result", result.to_owned())];
            (labels, Sample::Number(n as f64))
        });
        let help = "Authorization requests to Laravel by kind and result";
        Family::new("auth_requests", help, Kind::Counter, rows.collect())
    }

    fn rejection_family(&self) -> Family {
        let rows = self.requests.rejections().into_iter();
        let rows = rows.map(|(route, reason, n)| {
            let labels = vec![("reason", reason.to_owned()), ("route", route.to_string())];
            (labels, Sample::Number(n as f64))
        });
        let help = "Requests that the edge rejected, by code and route";
        Family::new(
            "http_requests_rejected",
            help,
            Kind::Counter,
            rows.collect(),
        )
    }
}

impl Routes {
    fn rejections(&self) -> Vec<(Arc<str>, &'static str, u64)> {
        let routes = self.0.lock();
        let each = routes.iter().flat_map(|(name, route)| {
            let reasons = route.rejections.read().into_iter();
            reasons.map(|(reason, n)| (Arc::clone(name), reason, n))
        });
        each.collect()
    }

    fn families(&self) -> [Family; 2] {
        let (mut responses, mut seconds) = (Vec::new(), Vec::new());
        for (name, route) in self.0.lock().iter() {
            let label = ("route", name.to_string());
            for (class, counter) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .iter()
                .zip(&route.classes)
            {
                let labels = vec![label.clone(), ("status", (*class).to_owned())];
                responses.push((labels, Sample::Number(counter.read() as f64)));
            }
            seconds.push((vec![label], Sample::Histogram(route.seconds.read())));
        }
        [
            Family::new(
                "http_requests",
                "Requests by route and class of status",
                Kind::Counter,
                responses,
            ),
            Family::new(
                "http_request_duration",
                "From the head of a request to the end of its response",
                Kind::Seconds,
                seconds,
            ),
        ]
    }
}

fn counter(name: &'static str, help: &'static str, counter: &Counter) -> Family {
    let rows = vec![(Vec::new(), Sample::Number(counter.read() as f64))];
    Family::new(name, help, Kind::Counter, rows)
}

fn counters(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    counters: &LabeledCounters,
) -> Family {
    let rows = counters.read().into_iter();
    let rows = rows.map(|(value, n)| (vec![(label, value.to_owned())], Sample::Number(n as f64)));
    Family::new(name, help, Kind::Counter, rows.collect())
}

fn histogram(name: &'static str, help: &'static str, histogram: &Histogram) -> Family {
    let rows = vec![(Vec::new(), Sample::Histogram(histogram.read()))];
    Family::new(name, help, Kind::Seconds, rows)
}
