//! Bytes per second of each client, for what it uploads.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::{Quota, RateLimiter};

use super::clock::TokioClock;
use super::rate::{KeyedLimiter, RateTable};
use crate::core::client::ClientKey;
use crate::core::units::ByteSize;

/// Bytes per second of each client. Who is over it waits; nothing is refused.
#[derive(Debug)]
pub struct ByteRate {
    limiter: KeyedLimiter,
    clock: TokioClock,
}

impl ByteRate {
    /// Nobody has sent anything yet. A second's worth may come at once.
    pub fn new(per_second: ByteSize) -> Self {
        let per_second = u32::try_from(per_second.get()).unwrap_or(u32::MAX);
        let per_second = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let clock = TokioClock::new();
        Self {
            limiter: RateLimiter::new(Quota::per_second(per_second), RateTable::new(clock), clock),
            clock,
        }
    }

    /// Counts `byte_rate` of `client`, once there is room for them. Dropped before
    /// that, it counts nothing; nor does it if the client has no limits.
    pub async fn acquire(&self, client: Option<ClientKey>, bytes: usize) {
        let bytes = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
        let (Some(client), Some(bytes)) = (client, bytes) else {
            return;
        };
        // More than a second's worth never fits at once; the settings have no such chunk.
        while let Ok(Err(not_yet)) = self.limiter.check_key_n(&client, bytes) {
            let wait = not_yet.wait_time_from(self.clock.now());
            tokio::time::sleep(wait.max(MIN_WAIT)).await;
        }
    }
}

const MIN_WAIT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::core::client::ClientIp;

    #[tokio::test(start_paused = true)]
    async fn a_second_passes_at_once_then_the_rate_holds_for_this_client_only() {
        let rate = ByteRate::new(ByteSize::kib(64));
        let client = |last| ClientIp::new([192, 0, 2, last].into()).key(64);
        let start = Instant::now();
        for _ in 0..6 {
            rate.acquire(Some(client(1)), 32 * 1024).await;
        }
        let took = start.elapsed();
        assert!((1990..2100).contains(&took.as_millis()), "{took:?}");
        rate.acquire(Some(client(2)), 64 * 1024).await;
        assert_eq!(start.elapsed(), took);
    }
}
