//! Responses for which the application waits: there is no room to read them ahead of
//! their clients. Each occupies a process. It may for as long as its client reads, at
//! whatever pace; but few clients at a time may keep the application waiting and take
//! nothing, and not for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// The blocked responses of one application. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockedResponses {
    /// Those whose clients take nothing.
    idle: Arc<AtomicUsize>,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The response is longer than may be buffered, or its client or all clients have
    /// their whole share.
    Full,
    /// The disk fails, which is no client's fault.
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

/// One blocked response; no longer counted when dropped.
#[derive(Debug)]
pub(super) struct Blocked {
    all: BlockedResponses,
    cause: Cause,
    began: Instant,
    is_counted: bool,
}

/// The response ends: its client does not read.
#[derive(Debug, thiserror::Error)]
#[error("the client does not read, and its response no longer fits into the buffers")]
pub(super) struct GivenUp;

impl BlockedResponses {
    /// A response that has become blocked; [`Blocked::check`] says whether it may be.
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
    /// Notes when the client last took [`MIN_TAKEN`] bytes, if it has. To be asked at
    /// least once a second.
    ///
    /// # Errors
    /// It takes nothing, for [`BLOCKED_TIMEOUT`] or as one of too many.
    pub(super) fn check(&mut self, moved: Option<Instant>) -> Result<(), GivenUp> {
        if moved.unwrap_or(self.began).max(self.began).elapsed() >= BLOCKED_TIMEOUT {
            return Err(GivenUp);
        }
        let is_reading = moved.is_some_and(|at| at.elapsed() < READING_TIMEOUT);
        if is_reading || self.cause == Cause::Disk {
            self.uncount();
            return Ok(());
        }
        if !self.is_counted {
            let more = |idle| (idle < MAX_IDLE).then_some(idle + 1);
            let counted = self.all.idle.fetch_update(Relaxed, Relaxed, more);
            counted.map_err(|_| GivenUp)?;
            self.is_counted = true;
        }
        Ok(())
    }

    fn uncount(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.all.idle.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.uncount();
    }
}

/// Clients of one application that may keep it waiting and take nothing. PHP has five
/// processes where nobody has set another number.
const MAX_IDLE: usize = 2;
/// How long the application waits for one of them: a phone in a tunnel comes back
/// before.
const BLOCKED_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that takes [`MIN_TAKEN`] bytes in this time reads.
const READING_TIMEOUT: Duration = Duration::from_secs(4);
/// In bytes.
pub(super) const MIN_TAKEN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_clients_that_take_nothing_are_waited_for_and_no_third() {
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
        // One that reads again makes room.
        assert!(idle[0].check(Some(Instant::now())).is_ok());
        assert!(readers[0].check(now).is_ok());
        drop((idle, readers));
        assert_eq!(all.idle.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_takes_nothing_is_not_waited_for_long() {
        let all = BlockedResponses::default();
        for cause in [Cause::Full, Cause::Disk] {
            let mut blocked = all.enter(cause);
            tokio::time::advance(BLOCKED_TIMEOUT * 9 / 10).await;
            assert!(blocked.check(None).is_ok());
            let moved = Some(Instant::now());
            tokio::time::advance(BLOCKED_TIMEOUT * 9 / 10).await;
            assert!(blocked.check(moved).is_ok());
            tokio::time::advance(BLOCKED_TIMEOUT / 10).await;
            assert!(blocked.check(moved).is_err());
        }
    }
}
