//! Responses for which the application waits: their clients do not read, and there is
//! no room to read them ahead. Each occupies a process, so a client may have few of
//! them, and not for long.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::client::ClientKey;

/// The blocked responses of one application, by client. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockedResponses(Arc<Mutex<HashMap<ClientKey, usize>>>);

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The response is longer than may be buffered, or its client has its whole share.
    Client,
    /// The disk fails, or all responses together have what is theirs.
    Disk,
}

/// One blocked response; no longer counted when dropped.
#[derive(Debug)]
pub(super) struct Blocked {
    counted: Option<(BlockedResponses, ClientKey)>,
    since: Instant,
    /// What its client had taken by then.
    taken: u64,
}

/// The response ends: its client does not read.
#[derive(Debug, thiserror::Error)]
#[error("the client does not read, and its response no longer fits into the buffers")]
pub(super) struct GivenUp;

impl BlockedResponses {
    /// Counts a response whose client `key` has taken `taken` bytes of it.
    ///
    /// # Errors
    /// The client has [`MAX_BLOCKED_PER_CLIENT`] already, and its own share is what is
    /// used up. That of others must not cut it off at once.
    pub(super) fn enter(
        &self,
        key: Option<ClientKey>,
        cause: Cause,
        taken: u64,
    ) -> Result<Blocked, GivenUp> {
        let counted = match key {
            None => None,
            Some(key) => {
                let mut counts = self.0.lock();
                let count = counts.entry(key).or_default();
                if cause == Cause::Client && *count >= MAX_BLOCKED_PER_CLIENT {
                    return Err(GivenUp);
                }
                *count += 1;
                Some((self.clone(), key))
            }
        };
        Ok(Blocked {
            counted,
            since: Instant::now(),
            taken,
        })
    }
}

impl Blocked {
    /// Notes that the client has taken `taken` bytes of the response by now.
    ///
    /// # Errors
    /// It has not taken [`MIN_TAKEN`] for [`BLOCKED_TIMEOUT`].
    pub(super) fn check(&mut self, taken: u64) -> Result<(), GivenUp> {
        if taken - self.taken >= MIN_TAKEN {
            self.taken = taken;
            self.since = Instant::now();
        }
        if self.since.elapsed() < BLOCKED_TIMEOUT {
            Ok(())
        } else {
            Err(GivenUp)
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some((BlockedResponses(counts), key)) = &self.counted {
            let mut counts = counts.lock();
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
    }
}

/// PHP has five processes where nobody has set another number: two clients leave one.
const MAX_BLOCKED_PER_CLIENT: usize = 2;
/// How long the application waits for a client that takes nothing: a phone in a tunnel
/// comes back before.
const BLOCKED_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client must take meanwhile, in bytes.
const MIN_TAKEN: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientIp;

    fn key(last: u8) -> Option<ClientKey> {
        Some(ClientIp::new([192, 0, 2, last].into()).key(64))
    }

    #[tokio::test(start_paused = true)]
    async fn client_over_its_share_has_two_blocked_responses_at_most() {
        let blocked = BlockedResponses::default();
        let enter = |last, cause| blocked.enter(key(last), cause, 0);
        let first = enter(1, Cause::Client).unwrap();
        let _second = enter(1, Cause::Client).unwrap();
        assert!(enter(1, Cause::Client).is_err());
        assert!(enter(2, Cause::Client).is_ok());
        drop(first);
        assert!(enter(1, Cause::Client).is_ok());
        // A full disk is no fault of the client's.
        let disk: Vec<_> = (0..5).map(|_| enter(1, Cause::Disk)).collect();
        assert!(disk.iter().all(Result::is_ok));
        drop((disk, _second));
        assert!(blocked.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let blocked = BlockedResponses::default();
        let mut slow = blocked.enter(key(1), Cause::Client, 100).unwrap();
        for step in 1..10 {
            tokio::time::advance(BLOCKED_TIMEOUT * 9 / 10).await;
            assert!(slow.check(100 + step * MIN_TAKEN).is_ok());
        }
        let taken = 100 + 9 * MIN_TAKEN;
        assert!(slow.check(taken + MIN_TAKEN - 1).is_ok());
        tokio::time::advance(BLOCKED_TIMEOUT).await;
        assert!(slow.check(taken + MIN_TAKEN - 1).is_err());
    }
}
