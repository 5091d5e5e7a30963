//! How long things took, in fixed steps, without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Seconds, each step about two and a half times the one before: half a
/// millisecond to a minute.
const BUCKET_BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// Counts how often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of [`BUCKET_BOUNDS`], not added up, and one for all that is longer.
    counts: [AtomicU64; BUCKET_BOUNDS.len() + 1],
    /// All together, in microseconds.
    sum: AtomicU64,
}

/// What a [`Histogram`] had counted at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Seconds, all together.
    pub sum: f64,
    /// The upper end of each step, and how many fell into it.
    pub steps: Vec<(f64, u64)>,
}

impl Histogram {
    /// It took `time`.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let step = BUCKET_BOUNDS.iter().position(|end| seconds <= *end);
        self.counts[step.unwrap_or(BUCKET_BOUNDS.len())].fetch_add(1, Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(micros, Relaxed);
    }

    /// What has been counted.
    pub fn read(&self) -> HistogramSnapshot {
        let ends = BUCKET_BOUNDS.iter().copied().chain([f64::INFINITY]);
        let steps = ends.zip(self.counts.iter().map(|count| count.load(Relaxed)));
        HistogramSnapshot {
            sum: Duration::from_micros(self.sum.load(Relaxed)).as_secs_f64(),
            steps: steps.collect(),
        }
    }
}

impl HistogramSnapshot {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.steps.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_falls_into_its_step() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let read = histogram.read();
        assert_eq!(read.count(), 4);
        let filled: Vec<_> = read.steps.iter().filter(|(_, count)| *count > 0).collect();
        let expected = [(0.0005, 1), (0.001, 1), (0.0025, 1), (f64::INFINITY, 1)];
        assert_eq!(filled, expected.iter().collect::<Vec<_>>());
        assert!((read.sum - 100.003).abs() < 1e-9);
    }
}
