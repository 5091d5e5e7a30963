//! Rate limits by GCRA (governor) over tokio's clock: per client and IPv6 site, and for one
//! WebSocket session.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware, StateSnapshot};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::ClientKeys;
use super::client_table::{ClientTable, Evictable, EvictionPriority};
use super::clock::TokioClock;
use crate::core::client_ip::ClientKey;
use crate::core::units::PositiveCount;

/// A governor limiter with a state for each client in a [`RateTable`].
pub(super) type KeyedLimiter =
    RateLimiter<ClientKey, RateTable, TokioClock, StateInformationMiddleware>;

/// A rate limit for each client.
#[derive(Debug)]
pub(crate) struct Rate {
    limiter: KeyedLimiter,
    /// The state of `limiter`, which does not give access to its own.
    table: RateTable,
    /// The limiter and table of IPv6 sites, if sites are counted.
    sites: Option<(KeyedLimiter, RateTable, PositiveCount)>,
    clock: TokioClock,
    policy: Policy,
    /// The events above the burst that pass after a delay.
    queue: Option<DelayQueue>,
}

/// The events of each client that wait, as nginx's `limit_req` without `nodelay` has them:
/// instead of being rejected, an event above the burst passes when the average allows it.
#[derive(Clone, Copy, Debug)]
struct DelayQueue {
    /// The number of such events, which the quota's burst includes.
    length: PositiveCount,
    /// The time between two of them.
    interval: Duration,
}

impl DelayQueue {
    /// Returns the delay of an event after which `state` is left.
    fn delay(self, state: &StateSnapshot) -> Duration {
        let queued = self
            .length
            .get()
            .saturating_sub(state.remaining_burst_capacity());
        self.interval * queued
    }

    /// Returns the queue of a site, for `multiple` clients.
    fn times(self, multiple: PositiveCount) -> Self {
        Self {
            length: self.length.times(multiple),
            interval: self.interval / multiple.get(),
        }
    }
}

/// The average that a rate allows, for the `RateLimit-Policy` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The number allowed in the period.
    pub(crate) count: u32,
    /// The length of the period in seconds.
    pub(crate) seconds: u64,
}

impl Rate {
    /// Creates a rate of `count` per second on average, with `burst` at once.
    pub(crate) fn per_second(count: PositiveCount, burst: PositiveCount) -> Self {
        Self::new(count, 1, burst)
    }

    /// Creates a rate of `count` per minute on average, with `burst` at once.
    pub(crate) fn per_minute(count: PositiveCount, burst: PositiveCount) -> Self {
        Self::new(count, 60, burst)
    }

    fn new(count: PositiveCount, seconds: u64, burst: PositiveCount) -> Self {
        let clock = TokioClock::new();
        let quota = quota(count, Duration::from_secs(seconds), burst);
        let table = RateTable::new(clock);
        Self {
            limiter: RateLimiter::new(quota, table.clone(), clock),
            table,
            sites: None,
            clock,
            policy: Policy {
                count: count.get(),
                seconds,
            },
            queue: None,
        }
    }

    /// Creates a rate of `count` per second on average in units of [`COST_UNITS`], with
    /// `burst` at once. Events above that are delayed for up to [`MAX_DELAY_SECONDS`].
    pub(crate) fn delaying(count: PositiveCount, burst: PositiveCount) -> Self {
        let units = PositiveCount::new(COST_UNITS);
        let queue = DelayQueue {
            length: count
                .times(units)
                .times(PositiveCount::new(MAX_DELAY_SECONDS)),
            interval: Duration::from_secs(1) / count.times(units).get(),
        };
        let all = burst.times(units).plus(queue.length);
        Self {
            policy: Policy {
                count: count.get(),
                seconds: 1,
            },
            queue: Some(queue),
            ..Self::new(count.times(units), 1, all)
        }
    }

    /// Adds a limit for each IPv6 site: `multiple` times the `count` and `burst` of one
    /// client.
    pub(crate) fn with_sites(
        mut self,
        count: PositiveCount,
        burst: PositiveCount,
        multiple: PositiveCount,
    ) -> Self {
        let period = Duration::from_secs(self.policy.seconds);
        let (count, burst) = match self.queue {
            Some(queue) => {
                let units = PositiveCount::new(COST_UNITS);
                let all = burst.times(units).plus(queue.length);
                (count.times(units), all)
            }
            None => (count, burst),
        };
        let quota = quota(count.times(multiple), period, burst.times(multiple));
        let table = RateTable(Arc::new(ClientTable::of_sites(self.clock)));
        let limiter = RateLimiter::new(quota, table.clone(), self.clock);
        self.sites = Some((limiter, table, multiple));
        self
    }

    /// Counts an event of one unit; see [`Rate::check_cost`].
    #[cfg(test)]
    pub(crate) fn check(&self, client: impl Into<ClientKeys>) -> Result<(), Duration> {
        self.check_cost(client, NonZeroU32::MIN).map(|_| ())
    }

    /// Counts an event that costs `cost` units, of `client` and then of its site. Returns the
    /// time after which it may proceed, which is zero unless the rate is a
    /// [delaying](Self::delaying) one.
    ///
    /// # Errors
    /// Returns the time until the next event passes if the client or its site is over its
    /// rate.
    pub(crate) fn check_cost(
        &self,
        client: impl Into<ClientKeys>,
        cost: NonZeroU32,
    ) -> Result<Duration, Duration> {
        let keys = client.into();
        let check = |limiter: &KeyedLimiter, key: ClientKey, queue: Option<DelayQueue>| {
            match limiter.check_key_n(&key, cost) {
                Ok(Ok(state)) => Ok(queue.map_or(Duration::ZERO, |queue| queue.delay(&state))),
                Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
                // More than the burst, which could never pass. No caller has such a cost.
                Err(_) => Ok(Duration::ZERO),
            }
        };
        let delay = check(&self.limiter, keys.client(), self.queue)?;
        match (&self.sites, keys.site()) {
            (Some((limiter, _, multiple)), Some(site)) => {
                let queue = self.queue.map(|queue| queue.times(*multiple));
                Ok(delay.max(check(limiter, site.key, queue)?))
            }
            _ => Ok(delay),
        }
    }

    /// Returns the average that the rate allows.
    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    /// Returns the bytes of full tables.
    #[cfg(test)]
    pub(super) fn max_bytes() -> usize {
        ClientTable::<ArrivalTime>::max_bytes() + ClientTable::<ArrivalTime>::most_bytes_of_sites()
    }

    /// Frees the state of clients that have their whole burst again.
    pub(crate) fn forget_idle(&self) {
        self.table.0.forget_idle();
        if let Some((_, table, _)) = &self.sites {
            table.0.forget_idle();
        }
    }
}

/// The GCRA state of one client: its theoretical arrival time.
#[derive(Debug, Default)]
pub(super) struct ArrivalTime {
    at: Option<Nanos>,
    /// Whether the last event was rejected.
    is_rejected: bool,
}

impl Evictable for ArrivalTime {
    fn eviction_priority(&self, now: Duration) -> EvictionPriority {
        match self.at.map(Duration::from) {
            Some(at) if at > now && self.is_rejected => EvictionPriority::Kept,
            Some(at) if at > now => EvictionPriority::Some(at),
            _ => EvictionPriority::Nothing,
        }
    }
}

/// The state of all clients of one rate. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct RateTable(Arc<ClientTable<ArrivalTime>>);

impl RateTable {
    /// Creates an empty table.
    pub(super) fn new(clock: TokioClock) -> Self {
        Self(Arc::new(ClientTable::new(clock)))
    }
}

impl StateStore for RateTable {
    type Key = ClientKey;

    fn measure_and_replace<T, F, E>(&self, client: &ClientKey, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.with_entry(*client, |arrival| {
            let measured = measure(arrival.at);
            arrival.is_rejected = measured.is_err();
            let (passed, at) = measured?;
            arrival.at = Some(at);
            Ok(passed)
        })
    }
}

/// A rate limit for one WebSocket session, or for anything else without keys.
#[derive(Debug)]
pub(crate) struct SessionRate(
    RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
);

impl SessionRate {
    /// Creates a rate of `count` per second on average, with `burst` at once.
    pub(crate) fn per_second(count: PositiveCount, burst: PositiveCount) -> Self {
        Self::new(count, 1, burst)
    }

    /// Creates a rate of `count` per minute on average, with `burst` at once.
    pub(crate) fn per_minute(count: PositiveCount, burst: PositiveCount) -> Self {
        Self::new(count, 60, burst)
    }

    fn new(count: PositiveCount, seconds: u64, burst: PositiveCount) -> Self {
        let quota = quota(count, Duration::from_secs(seconds), burst);
        Self(RateLimiter::direct_with_clock(quota, TokioClock::new()))
    }

    /// Counts `n` events at once. More than `burst`, which is that of the rate, count as
    /// `burst`, since they could never pass otherwise.
    ///
    /// # Errors
    /// Returns the time until the events pass if the session is over its rate.
    pub(crate) fn check(&self, n: usize, burst: PositiveCount) -> Result<(), Duration> {
        let capped = u32::try_from(n).unwrap_or(u32::MAX).min(burst.get());
        let Some(events) = NonZeroU32::new(capped) else {
            return Ok(());
        };
        let now = self.0.clock().now();
        match self.0.check_n(events) {
            Ok(Err(not_until)) => Err(not_until.wait_time_from(now)),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// Returns the quota of `count` events per `period`. It is capped at one event per
/// nanosecond, which is no limit in practice.
fn quota(count: PositiveCount, period: Duration, burst: PositiveCount) -> Quota {
    let interval = (period / count.get()).max(Duration::from_nanos(1));
    let quota = Quota::with_period(interval).expect("the interval is above zero");
    quota.allow_burst(burst.non_zero())
}

/// The units of a delaying rate that one event of its average costs. Cheaper events cost fewer.
pub(crate) const COST_UNITS: u32 = 10;
/// The maximum delay of an event above the burst. A browser waits as long for a slow page.
const MAX_DELAY_SECONDS: u32 = 2;

#[cfg(test)]
mod tests;
