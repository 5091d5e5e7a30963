//! Limits for blocked responses. A response is blocked if there is no room to read it ahead
//! of its client: the application waits, with a process. It may wait for a client that reads,
//! at any rate. But only few clients at a time may read nothing, and not for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// The blocked responses of one application. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockedResponses {
    /// The number of blocked responses whose clients read nothing.
    idle: Arc<AtomicUsize>,
}

/// The reason why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The response has reached its buffer size, or its client or all clients together have
    /// used up their share.
    Full,
    /// The disk fails, which is not the client's fault.
    Disk,
}

impl Cause {
    /// Returns the code that the log has for it.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Full => "buffers_full",
            Self::Disk => "disk_failed",
        }
    }
}

/// One blocked response; dropping it ends the blocked state.
#[derive(Debug)]
pub(super) struct Blocked {
    all: BlockedResponses,
    cause: Cause,
    began: Instant,
    is_counted: bool,
}

/// The error that ends a response whose client does not read.
#[derive(Debug, thiserror::Error)]
#[error("the client does not read, and its response no longer fits into the buffers")]
pub(super) struct GivenUp;

impl BlockedResponses {
    /// Registers a response that has become blocked. [`Blocked::check`] decides whether it
    /// may stay so.
    pub(super) fn enter(&self, cause: Cause) -> Blocked {
        Blocked {
            all: self.clone(),
            cause,
            began: Instant::now(),
            is_counted: false,
        }
    }
}

impl Blocked {
    /// Checks whether the application may continue to wait. `last_progress` is the time when the
    /// client last completed [`MIN_PROGRESS_BYTES`], if it has. To be called at least once a
    /// second.
    ///
    /// # Errors
    /// Returns [`GivenUp`] if the client has read nothing for [`BLOCKED_TIMEOUT`], or if
    /// [`MAX_IDLE_CLIENTS`] others read nothing, too.
    pub(super) fn check(&mut self, last_progress: Option<Instant>) -> Result<(), GivenUp> {
        if last_progress
            .unwrap_or(self.began)
            .max(self.began)
            .elapsed()
            >= BLOCKED_TIMEOUT
        {
            return Err(GivenUp);
        }
        let is_reading = last_progress.is_some_and(|at| at.elapsed() < READING_TIMEOUT);
        if is_reading || self.cause == Cause::Disk {
            self.stop_counting();
            return Ok(());
        }
        if !self.is_counted {
            // Check and increment in one step: two responses must not take the last slot.
            self.all
                .idle
                .fetch_update(Relaxed, Relaxed, |idle| {
                    (idle < MAX_IDLE_CLIENTS).then_some(idle + 1)
                })
                .map_err(|_| GivenUp)?;
            self.is_counted = true;
        }
        Ok(())
    }

    fn stop_counting(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.all.idle.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.stop_counting();
    }
}

/// The maximum number of clients of one application that keep it waiting and read nothing.
/// php-fpm has five processes by default, so this leaves three.
const MAX_IDLE_CLIENTS: usize = 2;
/// The time that the application waits for such a client: long enough for a phone that
/// passes through a tunnel.
const BLOCKED_TIMEOUT: Duration = Duration::from_secs(30);
/// A client counts as reading if it has completed [`MIN_PROGRESS_BYTES`] within this time.
const READING_TIMEOUT: Duration = Duration::from_secs(4);
/// One step of progress, in bytes.
pub(super) const MIN_PROGRESS_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn third_client_that_reads_nothing_is_not_waited_for() {
        let all = BlockedResponses::default();
        let mut idle = [all.enter(Cause::Full), all.enter(Cause::Full)];
        assert!(idle.iter_mut().all(|one| one.check(None).is_ok()));
        assert!(all.enter(Cause::Full).check(None).is_err());
        // Readers are no matter of number, nor is a disk that fails.
        let now = Some(Instant::now());
        let mut readers: Vec<_> = (0..5).map(|_| all.enter(Cause::Full)).collect();
        assert!(readers.iter_mut().all(|one| one.check(now).is_ok()));
        assert!(all.enter(Cause::Disk).check(None).is_ok());
        // A reader that stops is idle, and one too many.
        tokio::time::advance(READING_TIMEOUT).await;
        assert!(readers[0].check(now).is_err());
        // A client that resumes reading frees its slot.
        assert!(idle[0].check(Some(Instant::now())).is_ok());
        assert!(readers[0].check(now).is_ok());
        drop((idle, readers));
        assert_eq!(all.idle.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_nothing_is_not_waited_for_long() {
        let all = BlockedResponses::default();
        for cause in [Cause::Full, Cause::Disk] {
            let mut blocked = all.enter(cause);
            tokio::time::advance(BLOCKED_TIMEOUT * 9 / 10).await;
            assert!(blocked.check(None).is_ok());
            let last_progress = Some(Instant::now());
            tokio::time::advance(BLOCKED_TIMEOUT * 9 / 10).await;
            assert!(blocked.check(last_progress).is_ok());
            tokio::time::advance(BLOCKED_TIMEOUT / 10).await;
            assert!(blocked.check(last_progress).is_err());
        }
    }
}
