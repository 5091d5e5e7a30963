//! Counters and histograms of the process, without a lock on the hot path. Gauges, such as
//! the number of sessions, are read from their owners at each scrape
//! (`introspection::exposition`).

mod families;
mod histogram;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use self::histogram::{Histogram, HistogramSnapshot};
pub use self::text::{Family, Kind, Sample, registry};

/// The counters and histograms of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Accepted connections.
    pub connections: Counter,
    /// TLS handshakes, by result.
    pub handshakes: LabeledCounters,
    /// Requests, by route and class of status.
    pub requests: Routes,
    /// Connections that the edge rejected, by code.
    pub connection_rejections: LabeledCounters,
    /// Times that a client exceeded a limit, by its name, and whether the limit is
    /// enforced or in a dry run.
    pub limits_exceeded: LabeledCounters<(&'static str, bool)>,
    /// Requests without a response from the upstream, by reason.
    pub upstream_failures: LabeledCounters,
    /// From sending a request to the upstream to the head of its response.
    pub upstream_seconds: Histogram,
    /// Closed WebSocket sessions, by reason.
    pub closes: LabeledCounters,
    /// Messages from WebSocket clients, by type or error.
    pub commands: LabeledCounters,
    /// Events sent to WebSocket clients, by type.
    pub events: LabeledCounters,
    /// Requests to join a room, by result.
    pub joins: LabeledCounters,
    /// Published events, by type.
    pub publications: LabeledCounters,
    /// Published events written to a session's socket.
    pub deliveries: Counter,
    /// From publishing an event to its last byte on a session's socket, one sample for
    /// each write.
    pub delivery_seconds: Histogram,
    /// Authorization requests to Laravel, by kind and result.
    pub auth_requests: LabeledCounters<(&'static str, &'static str)>,
    /// Reloads of the configuration, by result.
    pub reloads: LabeledCounters,
}

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Returns the count.
    pub fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters by fixed labels. Only the first count of a label takes the write lock.
#[derive(Debug)]
pub struct LabeledCounters<L = &'static str>(RwLock<BTreeMap<L, Counter>>);

impl<L> Default for LabeledCounters<L> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<L: Copy + Ord> LabeledCounters<L> {
    /// Adds one to the counter of `label`.
    pub fn add(&self, label: L) {
        if let Some(counter) = self.0.read().get(&label) {
            return counter.add(1);
        }
        self.0.write().entry(label).or_default().add(1);
    }

    /// Returns all counters.
    pub fn read(&self) -> BTreeMap<L, u64> {
        let counts = self.0.read();
        let counts = counts.iter().map(|(name, counter)| (*name, counter.read()));
        counts.collect()
    }
}

/// The counters of requests by route: as many as `config.toml` has.
#[derive(Debug, Default)]
pub struct Routes(Mutex<BTreeMap<Arc<str>, Arc<Route>>>);

/// The counters of one route's requests.
#[derive(Debug, Default)]
pub struct Route {
    /// Responses by the first digit of their status, 1 to 5.
    classes: [Counter; 5],
    /// Requests that the edge rejected, by code.
    pub rejections: LabeledCounters,
    /// From the head of a request to the end of its response.
    seconds: Histogram,
}

impl Routes {
    /// Returns the counters of the route `name`. The same name has the same counters
    /// across reloads.
    pub fn route(&self, name: &Arc<str>) -> Arc<Route> {
        let mut routes = self.0.lock();
        Arc::clone(routes.entry(Arc::clone(name)).or_default())
    }

    /// Returns the number of responses of all routes.
    pub fn count(&self) -> u64 {
        let routes = self.0.lock();
        let classes = routes.values().flat_map(|route| &route.classes);
        classes.map(Counter::read).sum()
    }
}

impl Route {
    /// Counts a response with `status`, `took` after its request arrived.
    pub fn record_response(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].add(1);
        self.seconds.observe(took);
    }
}
