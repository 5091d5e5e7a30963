//! An adaptive bound on the requests that Laravel has at once, like the congestion control of
//! TCP: it grows while responses take their usual time, and shrinks once they take longer,
//! since requests then wait for a free PHP worker.
//!
//! One decision is taken for each round of responses, so that a slow page among fast ones
//! changes nothing. The usual time is measured at the minimum of the bound, to which it returns
//! when it is not used.

use std::time::Duration;

use tokio::time::Instant;

use super::Outcome;

/// The bound. The caller counts what is under way.
#[derive(Debug)]
pub(super) struct AdaptiveLimit {
    limit: usize,
    max: usize,
    /// The usual time of a response: an average of the rounds at the minimum.
    usual: Option<Duration>,
    round: Round,
}

/// The responses since the last decision, of requests that began after it.
#[derive(Debug)]
struct Round {
    start: Instant,
    responses: u32,
    /// The sum of their times.
    time: Duration,
    /// Whether requests have waited for a place at each response.
    is_saturated: bool,
}

impl Round {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            responses: 0,
            time: Duration::ZERO,
            is_saturated: true,
        }
    }
}

impl AdaptiveLimit {
    /// Creates a bound between [`MIN_LIMIT`] and `max`, which it never exceeds.
    pub(super) fn new(max: usize) -> Self {
        Self {
            limit: MIN_LIMIT.min(max),
            max,
            usual: None,
            round: Round::new(),
        }
    }

    /// Returns the bound.
    pub(super) fn get(&self) -> usize {
        self.limit
    }

    /// Records the end of a request that began at `since`. `has_waiters` is whether others wait
    /// for a place.
    pub(super) fn record(&mut self, outcome: Outcome, since: Instant, has_waiters: bool) {
        // Requests from before the last decision tell about the bound before it.
        if outcome == Outcome::Unknown || since < self.round.start {
            return;
        }
        if outcome == Outcome::Failed {
            return self.decide(self.limit / 2);
        }
        let round = &mut self.round;
        round.responses += 1;
        round.time += since.elapsed();
        round.is_saturated &= has_waiters;
        if round.responses as usize >= self.limit.max(MIN_ROUND) {
            self.end_round();
        }
    }

    /// Decides by the responses of a complete round.
    fn end_round(&mut self) {
        let (mean, is_at_min) = (
            self.round.time / self.round.responses,
            self.limit <= MIN_LIMIT.min(self.max),
        );
        if is_at_min {
            self.usual = Some(self.usual.map_or(mean, |usual| (usual + mean) / 2));
        }
        let usual = self.usual.unwrap_or(mean);
        let is_slow = mean > usual * SLOW_NUMERATOR / SLOW_DENOMINATOR + TIME_TOLERANCE;
        let step = (self.limit / 4).max(1);
        if (is_slow && !is_at_min) || !self.round.is_saturated {
            self.decide(self.limit - step);
        } else {
            self.decide(self.limit + step);
        }
    }

    /// Sets the bound, within its own bounds, and begins a round.
    fn decide(&mut self, limit: usize) {
        self.limit = limit.min(self.max).max(MIN_LIMIT.min(self.max));
        self.round = Round::new();
    }
}

/// The minimum of the bound: fewer requests at once would leave a PHP worker idle between two
/// of them, and a small pool serves these beside its pages.
const MIN_LIMIT: usize = 4;
/// The minimum of responses in a round.
const MIN_ROUND: usize = 8;
/// A round is slow if its responses take half as long again as usual.
const SLOW_NUMERATOR: u32 = 3;
const SLOW_DENOMINATOR: u32 = 2;
/// The time by which responses differ without any load.
const TIME_TOLERANCE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    /// Runs `requests`, all of which wait from the start, through `limit` and an application
    /// with `workers`, each of which takes `service` for a request. Returns the time that it
    /// took.
    async fn run(
        limit: &mut AdaptiveLimit,
        requests: usize,
        workers: usize,
        service: Duration,
    ) -> Duration {
        let start = Instant::now();
        let mut free_at = BinaryHeap::from(vec![Reverse(start); workers]);
        let mut under_way = BinaryHeap::new();
        let (mut waiting, mut done) = (requests, 0);
        while done < requests {
            while under_way.len() < limit.get() && waiting > 0 {
                waiting -= 1;
                let Reverse(free) = free_at.pop().expect("a worker");
                let end = free.max(Instant::now()) + service;
                free_at.push(Reverse(end));
                under_way.push(Reverse((end, Instant::now())));
            }
            let Some(Reverse((end, since))) = under_way.pop() else {
                break;
            };
            tokio::time::sleep_until(end).await;
            limit.record(Outcome::Responded, since, waiting > 0);
            done += 1;
        }
        start.elapsed()
    }

    const SERVICE: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn burst_at_an_idle_application_uses_the_maximum() {
        let mut limit = AdaptiveLimit::new(32);
        let took = run(&mut limit, 2000, 1000, SERVICE).await;
        // A fixed bound of 4 takes 50 s.
        assert!(took < Duration::from_secs(12), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn burst_at_a_small_pool_does_not_queue_in_it() {
        for workers in [1, 2, 5, 10] {
            let mut limit = AdaptiveLimit::new(32);
            let took = run(&mut limit, 1000, workers, SERVICE).await;
            let least = SERVICE * 1000 / u32::try_from(workers).unwrap();
            assert!(took < least * 11 / 10, "{workers}: {took:?}");
            let most = (2 * workers).max(6);
            assert!(limit.get() <= most, "{workers}: {}", limit.get());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_idle_times_end_at_the_minimum() {
        let mut limit = AdaptiveLimit::new(32);
        run(&mut limit, 1000, 1000, SERVICE).await;
        let before = limit.get();
        assert!(before > 16);
        for _ in 0..3 {
            tokio::time::advance(SERVICE).await;
            limit.record(Outcome::Failed, Instant::now(), true);
        }
        assert_eq!(limit.get(), MIN_LIMIT);
        run(&mut limit, 1000, 1000, SERVICE).await;
        for _ in 0..1000 {
            let since = Instant::now();
            tokio::time::advance(SERVICE).await;
            limit.record(Outcome::Responded, since, false);
        }
        assert_eq!(limit.get(), MIN_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn maximum_below_the_minimum_is_kept() {
        let mut limit = AdaptiveLimit::new(2);
        run(&mut limit, 100, 100, SERVICE).await;
        assert_eq!(limit.get(), 2);
    }
}
