//! Rates, by GCRA (governor) over tokio's clock, so that tests can pause it.

use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::Settings;
use crate::client::ClientKey;
use crate::units::Count;

/// tokio's clock in the form that governor asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokioClock {
    start: Instant,
}

impl TokioClock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

pub(super) type Middleware = NoOpMiddleware<Duration>;

/// Requests per second of each client.
#[derive(Debug)]
pub struct RequestRate {
    limiter: RateLimiter<ClientKey, HashMapStateStore<ClientKey>, TokioClock, Middleware>,
    clock: TokioClock,
}

impl RequestRate {
    /// Nobody has asked for anything yet.
    pub fn new(settings: &Settings) -> Self {
        let clock = TokioClock::new();
        let quota = quota(settings.requests_per_second, settings.request_burst);
        Self {
            limiter: RateLimiter::hashmap_with_clock(quota, clock),
            clock,
        }
    }

    /// Counts one request of `client`.
    ///
    /// # Errors
    /// The client is over its rate: how long until the next request passes.
    pub fn check(&self, client: ClientKey) -> Result<(), Duration> {
        self.limiter
            .check_key(&client)
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Frees what is kept of clients that have been quiet long enough to have
    /// their whole burst again.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Messages per second of one WebSocket session.
#[derive(Debug)]
pub struct SessionRate(RateLimiter<NotKeyed, InMemoryState, TokioClock, Middleware>);

impl SessionRate {
    /// No message yet.
    pub fn new(per_second: Count, burst: Count) -> Self {
        Self(RateLimiter::direct_with_clock(
            quota(per_second, burst),
            TokioClock::new(),
        ))
    }

    /// Counts one message.
    ///
    /// # Errors
    /// The session is over its rate: how long until the next message passes.
    pub fn check(&self) -> Result<(), Duration> {
        let now = self.0.clock().now();
        self.0
            .check()
            .map_err(|not_until| not_until.wait_time_from(now))
    }
}

fn quota(per_second: Count, burst: Count) -> Quota {
    Quota::per_second(per_second.non_zero()).allow_burst(burst.non_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientIp;

    fn rate(per_second: u32, burst: u32) -> RequestRate {
        RequestRate::new(&Settings {
            requests_per_second: Count::new(per_second),
            request_burst: Count::new(burst),
            ..Settings::default()
        })
    }

    fn client(last: u8) -> ClientKey {
        ClientIp::new([192, 0, 2, last].into()).key()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_the_rate_holds_for_this_client_only() {
        let rate = rate(2, 3);
        for _ in 0..3 {
            assert_eq!(rate.check(client(1)), Ok(()));
        }
        let wait = rate.check(client(1)).unwrap_err();
        assert!(
            wait <= Duration::from_millis(500) && !wait.is_zero(),
            "{wait:?}"
        );
        assert_eq!(rate.check(client(2)), Ok(()));
        tokio::time::advance(wait).await;
        assert_eq!(rate.check(client(1)), Ok(()));
        assert!(rate.check(client(1)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_clients_are_forgotten() {
        let rate = rate(1, 1);
        assert_eq!(rate.check(client(1)), Ok(()));
        rate.forget_idle();
        assert_eq!(rate.limiter.len(), 1);
        tokio::time::advance(Duration::from_secs(5)).await;
        rate.forget_idle();
        assert_eq!(rate.limiter.len(), 0);
    }
}
