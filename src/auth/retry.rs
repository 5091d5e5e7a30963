//! Retries of a request while Laravel is unavailable, such as during a restart.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Error;

/// The time limit of a request with its retries. It starts when the first attempt leaves the
/// edge's own queue: the time in it does not count. Clones share the limit.
#[derive(Clone, Debug)]
pub(crate) struct RetryDeadline(Arc<Clock>);

#[derive(Debug)]
struct Clock {
    limit: Duration,
    end: OnceLock<Instant>,
    started: CancellationToken,
}

impl RetryDeadline {
    /// Creates a deadline that has not started.
    fn new(limit: Duration) -> Self {
        Self(Arc::new(Clock {
            limit,
            end: OnceLock::new(),
            started: CancellationToken::new(),
        }))
    }

    /// Starts the deadline, unless it has started; returns its end.
    pub(super) fn start(&self) -> Instant {
        let end = self.0.end.get_or_init(|| Instant::now() + self.0.limit);
        self.0.started.cancel();
        *end
    }

    /// Waits until the deadline has started and its limit has passed. Cancel-safe.
    async fn expired(&self) {
        self.0.started.cancelled().await;
        tokio::time::sleep_until(self.start()).await;
    }
}

/// Calls `ask` until its result is not [`Error::Unavailable`], for `limit` in all: after
/// Laravel's `Retry-After`, but at most twice a second. `ask` starts the deadline when its
/// request leaves the edge's queue.
///
/// Dropping the future drops the future that `ask` returned last.
///
/// # Errors
/// The first error that is not `Unavailable`, or the last `Unavailable` within the limit.
pub(crate) async fn retry_while_unavailable<T, F>(
    limit: Duration,
    mut ask: impl FnMut(RetryDeadline) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = RetryDeadline::new(limit);
    let mut last = Error::unavailable("Laravel did not respond in time".to_owned());
    loop {
        let result = tokio::select! {
            biased;
            result = ask(deadline.clone()) => result,
            () = deadline.expired() => return Err(last),
        };
        let Err(Error::Unavailable { retry_after, .. }) = &result else {
            return result;
        };
        let retry_at = Instant::now() + retry_after.unwrap_or(RETRY_INTERVAL).max(RETRY_INTERVAL);
        if retry_at >= deadline.start() {
            return result;
        }
        if let Err(error) = result {
            last = error;
        }
        tokio::time::sleep_until(retry_at).await;
    }
}

/// The minimum time before a retry, and the default.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn short_outage_is_retried_until_success() {
        let mut calls = 0;
        let result = retry_while_unavailable(LIMIT, |_| {
            calls += 1;
            ready(match calls {
                3 => Ok(7),
                _ => Err(Error::unavailable("down".to_owned())),
            })
        });
        assert_eq!(result.await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn denial_and_long_outage_are_final() {
        let start = Instant::now();
        let denied = retry_while_unavailable(LIMIT, |_| ready(Err::<(), _>(Error::Denied))).await;
        assert_eq!(
            (denied, start.elapsed()),
            (Err(Error::Denied), Duration::ZERO)
        );
        let down = |_| ready(Err::<(), _>(Error::unavailable("down".to_owned())));
        assert!(matches!(
            retry_while_unavailable(LIMIT, down).await,
            Err(Error::Unavailable { .. })
        ));
        assert!(start.elapsed() <= LIMIT);
        let hangs = |deadline: RetryDeadline| {
            deadline.start();
            std::future::pending::<Result<(), _>>()
        };
        assert!(retry_while_unavailable(LIMIT, hangs).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_the_queue_does_not_count_as_retry_time() {
        let queued = |deadline: RetryDeadline| async move {
            tokio::time::sleep(4 * LIMIT).await;
            deadline.start();
            tokio::time::sleep(LIMIT / 2).await;
            Ok(7)
        };
        assert_eq!(retry_while_unavailable(LIMIT, queued).await, Ok(7));
    }
}
