//! The byte rate of uploads, per client.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::{Quota, RateLimiter};

use super::clock::TokioClock;
use super::rate::{KeyedLimiter, RateTable};
use crate::core::client_ip::ClientKey;
use crate::core::units::ByteSize;

/// A limit of bytes per second for each client. A client over its rate waits and is never
/// rejected.
#[derive(Debug)]
pub(crate) struct ByteRate {
    limiter: KeyedLimiter,
    clock: TokioClock,
}

impl ByteRate {
    /// Creates a limit of `per_second` bytes, with a burst of one second.
    pub(crate) fn new(per_second: ByteSize) -> Self {
        let bytes = u32::try_from(per_second.get()).unwrap_or(u32::MAX);
        let quota = Quota::per_second(NonZeroU32::new(bytes).unwrap_or(NonZeroU32::MIN));
        let clock = TokioClock::new();
        Self {
            limiter: RateLimiter::new(quota, RateTable::new(clock), clock),
            clock,
        }
    }

    /// Waits until the rate of `client` has room for `bytes`, and counts them. Returns at
    /// once for a client that is exempt (`None`). Cancel-safe: a dropped future has counted
    /// nothing.
    pub(crate) async fn acquire(&self, client: Option<ClientKey>, bytes: usize) {
        let bytes = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
        let (Some(client), Some(bytes)) = (client, bytes) else {
            return;
        };
        // `Err` of the outer result: more bytes than one second allows can never pass. The
        // settings exclude a rate below the size of a chunk.
        while let Ok(Err(not_yet)) = self.limiter.check_key_n(&client, bytes) {
            let wait = not_yet.wait_time_from(self.clock.now());
            tokio::time::sleep(wait.max(MIN_WAIT)).await;
        }
    }
}

/// The shortest sleep, so that rounding cannot make the loop spin.
const MIN_WAIT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::core::client_ip::ClientIp;

    #[tokio::test(start_paused = true)]
    async fn byte_rate_passes_one_second_at_once_then_limits_the_client() {
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
