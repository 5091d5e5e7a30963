//! What is counted: numbers that only grow, no logic.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The counters of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Ended WebSocket sessions, by the reason's name.
    pub closes: Counts,
}

/// Counters by a fixed name. For things that happen rarely: one lock for all.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, u64>>);

impl Counts {
    /// One more of `name`.
    pub fn add(&self, name: &'static str) {
        *self.0.lock().entry(name).or_insert(0) += 1;
    }

    /// All that have been counted.
    pub fn read(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().clone()
    }
}
