//! The check behind systemd's watchdog: whether the accept loops still respond, and with
//! them the runtime's worker threads.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Checks the registered loops. Cheap to clone; clones share the loops.
///
/// Each check is a numbered round. A loop responds with the number of the round that it
/// has seen.
#[derive(Clone, Debug, Default)]
pub struct Watchdog(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    round: watch::Sender<u64>,
    loops: Mutex<Vec<WatchedLoop>>,
}

#[derive(Clone, Debug)]
struct WatchedLoop {
    name: String,
    /// The last round that the loop has responded to.
    response: watch::Receiver<u64>,
}

/// The handle with which one loop responds to checks. A handle that is dropped without
/// [`deregister`](Self::deregister) counts as a loop that has panicked.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    round: watch::Receiver<u64>,
    response: watch::Sender<u64>,
}

impl Watchdog {
    /// Registers a loop, which must respond to every check from now on. `name` identifies
    /// it in the log.
    pub(crate) fn register(&self, name: impl Into<String>) -> Heartbeat {
        let (sender, response) = watch::channel(0);
        self.0.loops.lock().push(WatchedLoop {
            name: name.into(),
            response,
        });
        Heartbeat {
            round: self.0.round.subscribe(),
            response: sender,
        }
    }

    /// Starts a round, and completes when every loop has responded or has deregistered.
    /// It never completes once a loop has panicked, so the caller needs a timeout.
    ///
    /// Cancel-safe: the next call starts another round.
    pub async fn check(&self) {
        let mut round = 0;
        self.0.round.send_modify(|current| {
            *current += 1;
            round = *current;
        });
        // A copy, since the lock must not be held across an await.
        let loops = self.0.loops.lock().clone();
        for mut watched in loops {
            if watched
                .response
                .wait_for(|seen| *seen >= round)
                .await
                .is_err()
            {
                std::future::pending().await
            }
        }
    }

    /// Returns the names of the loops that have not responded to the last check.
    pub fn unresponsive(&self) -> Vec<String> {
        let round = *self.0.round.borrow();
        let loops = self.0.loops.lock();
        loops
            .iter()
            .filter(|watched| *watched.response.borrow() < round)
            .map(|watched| watched.name.clone())
            .collect()
    }
}

impl Heartbeat {
    /// Waits for the next check and responds to it. Cancel-safe.
    pub(crate) async fn respond(&mut self) {
        match self.round.changed().await {
            Ok(()) => {
                let round = *self.round.borrow_and_update();
                self.response.send_replace(round);
            }
            Err(_) => std::future::pending().await,
        }
    }

    /// Removes the loop from all later checks, for a loop that ends as intended.
    pub(crate) fn deregister(self) {
        self.response.send_replace(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn watchdog_reports_loops_that_neither_beat_nor_ended() {
        let watchdog = Watchdog::default();
        let (mut well, broken, ended) = (
            watchdog.register("a"),
            watchdog.register("b"),
            watchdog.register("c"),
        );
        ended.deregister();
        let mut asking = Box::pin(watchdog.check());
        assert_eq!(asking.as_mut().now_or_never(), None);
        well.respond().await;
        assert_eq!(watchdog.unresponsive(), ["b"]);
        drop(broken);
        assert_eq!(asking.as_mut().now_or_never(), None);
    }

    #[tokio::test]
    async fn watchdog_completes_when_every_loop_beats() {
        let watchdog = Watchdog::default();
        let mut heartbeat = watchdog.register("a");
        for _ in 0..2 {
            tokio::join!(watchdog.check(), heartbeat.respond());
        }
        assert_eq!(watchdog.unresponsive(), [""; 0]);
    }
}
