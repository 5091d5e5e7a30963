//! What is counted: numbers that only grow, no logic. What is as it is just
//! now, such as how many sessions there are, is read when somebody asks.

mod histogram;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use self::histogram::{Histogram, HistogramSnapshot};
pub use self::text::{CONTENT_TYPE, Family, Kind, Sample, text};

/// The counters of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that were accepted.
    pub connections: Counter,
    /// TLS handshakes, by how they ended.
    pub handshakes: LabeledCounters,
    /// Requests, by route and class of status.
    pub requests: Routes,
    /// Connections that the edge rejected, by code.
    pub connection_rejections: LabeledCounters,
    /// Times that a client was over a limit, by its key; refused or not.
    pub over_limits: LabeledCounters,
    /// Requests that the upstream did not answer, by what went wrong.
    pub upstream_failures: LabeledCounters,
    /// From sending a request on to the head of the answer.
    pub upstream_seconds: Histogram,
    /// Ended WebSocket sessions, by the reason's name.
    pub closes: LabeledCounters,
    /// What clients sent, by the command's name or what was wrong with it.
    pub commands: LabeledCounters,
    /// What was written to clients, by the event's name.
    pub events: LabeledCounters,
    /// Answers to requests to join a room, by what they were.
    pub joins: LabeledCounters,
    /// Events that were published, by kind.
    pub publications: LabeledCounters,
    /// Events that were written to a session's socket.
    pub deliveries: Counter,
    /// From publishing to the socket of the last that got it, one sample for
    /// each write.
    pub delivery_seconds: Histogram,
    /// Questions to Laravel, by kind and answer.
    pub questions: LabeledCounters,
    /// Times that the configuration was read again, by result.
    pub reloads: LabeledCounters,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// `more` of it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// How many there were.
    pub fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters by a fixed name. Who counts what was counted before waits for nobody.
#[derive(Debug, Default)]
pub struct LabeledCounters(RwLock<BTreeMap<&'static str, Counter>>);

impl LabeledCounters {
    /// One more of `name`.
    pub fn add(&self, name: &'static str) {
        if let Some(counter) = self.0.read().get(name) {
            return counter.add(1);
        }
        self.0.write().entry(name).or_default().add(1);
    }

    /// All that have been counted.
    pub fn read(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.read();
        let counts = counts.iter().map(|(name, counter)| (*name, counter.read()));
        counts.collect()
    }
}

/// What is counted of requests, by route: as many rows as `config.toml` has.
#[derive(Debug, Default)]
pub struct Routes(Mutex<BTreeMap<Arc<str>, Arc<Route>>>);

/// What is counted of one route's requests.
#[derive(Debug, Default)]
pub struct Route {
    /// By the status' first digit, from 1.
    classes: [Counter; 5],
    /// Requests that the edge rejected, by code.
    pub rejections: LabeledCounters,
    /// From the head of the request to the end of the answer.
    seconds: Histogram,
}

impl Routes {
    /// The counters of a route, which are the same for the same name.
    pub fn route(&self, name: &Arc<str>) -> Arc<Route> {
        let mut routes = self.0.lock();
        Arc::clone(routes.entry(Arc::clone(name)).or_default())
    }

    /// The answers of all routes.
    pub fn count(&self) -> u64 {
        let routes = self.0.lock();
        let classes = routes.values().flat_map(|route| &route.classes);
        classes.map(Counter::read).sum()
    }
}

impl Route {
    /// A request that was answered with `status`, `took` after it came.
    pub fn record_response(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].add(1);
        self.seconds.observe(took);
    }
}

impl Metrics {
    /// All of them, for [`text`].
    pub fn families(&self) -> Vec<Family> {
        let counts = |name, help, label, counts: &LabeledCounters| {
            let rows = counts.read().into_iter();
            let rows = rows.map(|(of, n)| (vec![(label, of.to_owned())], Sample::Number(n as f64)));
            Family::new(name, help, Kind::Counter, rows.collect())
        };
        let one = |name, help, n: u64| {
            let rows = vec![(Vec::new(), Sample::Number(n as f64))];
            Family::new(name, help, Kind::Counter, rows)
        };
        let seconds = |name, help, histogram: &Histogram| {
            let rows = vec![(Vec::new(), Sample::Histogram(histogram.read()))];
            Family::new(name, help, Kind::Seconds, rows)
        };
        let mut all = vec![
            one(
                "connections_accepted",
                "Connections that were accepted",
                self.connections.read(),
            ),
            counts(
                "tls_handshakes",
                "TLS handshakes by how they ended",
                "result",
                &self.handshakes,
            ),
            self.rejection_family(),
            counts(
                "over_limits",
                "Times that a client was over a limit, refused or not",
                "limit",
                &self.over_limits,
            ),
            counts(
                "upstream_failures",
                "Requests that the upstream did not answer",
                "cause",
                &self.upstream_failures,
            ),
            seconds(
                "upstream_response",
                "From sending a request on to the head of its answer",
                &self.upstream_seconds,
            ),
            counts(
                "session_ends",
                "Ended WebSocket sessions by reason",
                "reason",
                &self.closes,
            ),
            counts(
                "commands",
                "What WebSocket clients sent",
                "type",
                &self.commands,
            ),
            counts(
                "events",
                "Events written to WebSocket clients",
                "type",
                &self.events,
            ),
            counts(
                "joins",
                "Requests to join a room by answer",
                "result",
                &self.joins,
            ),
            counts(
                "publications",
                "Events that were published",
                "type",
                &self.publications,
            ),
            one(
                "deliveries",
                "Events written to sessions",
                self.deliveries.read(),
            ),
            seconds(
                "delivery",
                "From publishing an event to its last byte on a session's socket",
                &self.delivery_seconds,
            ),
            counts(
                "auth_questions",
                "Questions to Laravel by kind and answer",
                "question",
                &self.questions,
            ),
            counts(
                "reloads",
                "Times the configuration was read again",
                "result",
                &self.reloads,
            ),
        ];
        all.extend(self.requests.families());
        all
    }
}

impl Metrics {
    /// Connections and requests that the edge rejected, by code.
    pub fn all_rejections(&self) -> BTreeMap<&'static str, u64> {
        let mut all = self.connection_rejections.read();
        for (_, reason, n) in self.requests.rejections() {
            *all.entry(reason).or_insert(0) += n;
        }
        all
    }

    fn rejection_family(&self) -> Family {
        let of_none = self.connection_rejections.read().into_iter();
        let of_none = of_none.map(|(reason, n)| ("none".into(), reason, n));
        let rows = of_none.chain(self.requests.rejections());
        let rows = rows.map(|(route, reason, n): (Arc<str>, _, _)| {
            let labels = vec![("reason", reason.to_owned()), ("route", route.to_string())];
            (labels, Sample::Number(n as f64))
        });
        let help = "Connections and requests that the edge refused, by reason and route";
        Family::new("refusals", help, Kind::Counter, rows.collect())
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
        let (mut answers, mut seconds) = (Vec::new(), Vec::new());
        for (name, route) in self.0.lock().iter() {
            let label = ("route", name.to_string());
            for (class, counter) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .iter()
                .zip(&route.classes)
            {
                let labels = vec![label.clone(), ("status", (*class).to_owned())];
                answers.push((labels, Sample::Number(counter.read() as f64)));
            }
            seconds.push((vec![label], Sample::Histogram(route.seconds.read())));
        }
        [
            Family::new(
                "http_requests",
                "Requests by route and status",
                Kind::Counter,
                answers,
            ),
            Family::new(
                "http_request",
                "From the head of a request to the end of its answer",
                Kind::Seconds,
                seconds,
            ),
        ]
    }
}
