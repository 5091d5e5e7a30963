//! What is counted: numbers that only grow, no logic. What is as it is just
//! now, such as how many sessions there are, is read when somebody asks.

mod families;
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
    /// Times that a client exceeded a limit, by its name, and whether the limit is
    /// enforced or in a dry run.
    pub limits_exceeded: LabeledCounters<(&'static str, bool)>,
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
    /// Authorization requests to Laravel, by kind and result.
    pub auth_requests: LabeledCounters<(&'static str, &'static str)>,
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
