//! A lock-free histogram of durations with fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the buckets in seconds, from half a millisecond to a minute, each
/// 2 to 6 times the one before.
const BUCKET_BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The count of each bucket of [`BUCKET_BOUNDS`], not cumulative, and of longer durations.
    ///
    /// Counts and sum are independent atomics, so a snapshot may have counted an observation
    /// in one of them only. Prometheus tolerates that.
    counts: [AtomicU64; BUCKET_BOUNDS.len() + 1],
    /// The sum of all durations in microseconds.
    sum: AtomicU64,
}

/// The state of a [`Histogram`] at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// The sum of all durations in seconds.
    pub sum: f64,
    /// The upper bound of each bucket in seconds, and the count in it; the last bound is
    /// infinite. The counts are not cumulative.
    pub steps: Vec<(f64, u64)>,
}

impl Histogram {
    /// Records one duration.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let step = BUCKET_BOUNDS.iter().position(|end| seconds <= *end);
        self.counts[step.unwrap_or(BUCKET_BOUNDS.len())].fetch_add(1, Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(micros, Relaxed);
    }

    /// Returns a snapshot.
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
    /// Returns the number of recorded durations.
    pub fn count(&self) -> u64 {
        self.steps.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observed_duration_falls_into_its_bucket() {
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
