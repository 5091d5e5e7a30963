//! Retries of a request while Laravel is unavailable, such as during a restart.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Error;

/// The time limit of one attempt. It starts when the attempt leaves the edge's own queues:
/// the time in them does not count. Clones share the limit.
#[derive(Clone, Debug)]
pub(crate) struct RetryDeadline(Arc<Clock>);

#[derive(Debug)]
struct Clock {
    limit: Duration,
    start: OnceLock<Instant>,
    started: CancellationToken,
}

impl RetryDeadline {
    /// Creates a deadline that has not started.
    fn new(limit: Duration) -> Self {
        Self(Arc::new(Clock {
            limit,
            start: OnceLock::new(),
            started: CancellationToken::new(),
        }))
    }

    /// Starts the deadline, unless it has started.
    pub(super) fn start(&self) {
        self.0.start.get_or_init(Instant::now);
        self.0.started.cancel();
    }

    /// Returns the time at which the deadline started, if it has.
    fn started_at(&self) -> Option<Instant> {
        self.0.start.get().copied()
    }

    /// Waits until the deadline has started and its limit has passed. Cancel-safe.
    async fn expired(&self) {
        self.0.started.cancelled().await;
        let start = self.started_at().unwrap_or_else(Instant::now);
        tokio::time::sleep_until(start + self.0.limit).await;
    }
}

/// Calls `ask` until its result is not [`Error::Unavailable`], for `limit` in all: after
/// Laravel's `Retry-After`, but at most twice a second. `ask` starts the deadline when its
/// request leaves the edge's queues. The time in these queues never counts, in no attempt.
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
    let mut left = limit;
    let mut last = Error::unavailable("Laravel did not respond in time".to_owned());
    loop {
        let (deadline, queued_at) = (RetryDeadline::new(left), Instant::now());
        let result = tokio::select! {
            biased;
            result = ask(deadline.clone()) => result,
            () = deadline.expired() => return Err(last),
        };
        let Err(Error::Unavailable { retry_after, .. }) = &result else {
            return result;
        };
        // An attempt that failed in a queue counts as a whole: the queue does not move.
        let spent = deadline.started_at().unwrap_or(queued_at).elapsed();
        let pause = retry_after.unwrap_or(RETRY_INTERVAL).max(RETRY_INTERVAL);
        left = left.saturating_sub(spent + pause);
        if left.is_zero() {
            return result;
        }
        if let Err(error) = result {
            last = error;
        }
        tokio::time::sleep(pause).await;
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

    /// As after a restart of Laravel: all fail, and all queue again.
    #[tokio::test(start_paused = true)]
    async fn time_in_the_queue_of_a_retry_does_not_count_either() {
        let mut calls = 0;
        let result = retry_while_unavailable(LIMIT, |deadline: RetryDeadline| {
            calls += 1;
            let is_first = calls == 1;
            async move {
                tokio::time::sleep(2 * LIMIT).await;
                deadline.start();
                if is_first {
                    return Err(Error::unavailable("down".to_owned()));
                }
                Ok(7)
            }
        });
        assert_eq!(result.await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_fails_in_a_queue_is_not_retried_for_ever() {
        let start = Instant::now();
        let stuck = |_| async {
            tokio::time::sleep(LIMIT).await;
            Err::<(), _>(Error::unavailable("the queue does not move".to_owned()))
        };
        assert!(retry_while_unavailable(LIMIT, stuck).await.is_err());
        assert!(start.elapsed() <= LIMIT);
    }
}
