//! Whether the loops that accept connections still go round, and the runtime's
//! workers with them: for systemd's watchdog.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Asks the loops. Cheap to clone; clones are one.
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
    answered: watch::Receiver<u64>,
}

/// One loop's end of it.
#[derive(Debug)]
pub struct Heartbeat {
    asked: watch::Receiver<u64>,
    answer: watch::Sender<u64>,
}

impl Watchdog {
    /// One loop more, which must answer from now on.
    pub fn register(&self, name: impl Into<String>) -> Heartbeat {
        let (answer, answered) = watch::channel(0);
        self.0.loops.lock().push(WatchedLoop {
            name: name.into(),
            answered,
        });
        Heartbeat {
            asked: self.0.round.subscribe(),
            answer,
        }
    }

    /// Asks all loops, and completes when each has gone round once more or has
    /// ended as it should. One that broke never answers.
    pub async fn check(&self) {
        let mut round = 0;
        self.0.round.send_modify(|now| {
            *now += 1;
            round = *now;
        });
        let loops = self.0.loops.lock().clone();
        for mut watched in loops {
            if watched.answered.wait_for(|of| *of >= round).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// The names of those that have not answered what was last asked.
    pub fn unresponsive(&self) -> Vec<String> {
        let round = *self.0.round.borrow();
        let loops = self.0.loops.lock();
        let silent = loops
            .iter()
            .filter(|known| *known.answered.borrow() < round);
        silent.map(|known| known.name.clone()).collect()
    }
}

impl Heartbeat {
    /// Answers when it is asked. Cancel safe.
    pub async fn respond(&mut self) {
        match self.asked.changed().await {
            Ok(()) => {
                let round = *self.asked.borrow_and_update();
                self.answer.send_replace(round);
            }
            Err(_) => std::future::pending().await,
        }
    }

    /// The loop ends as it should.
    pub fn deregister(self) {
        self.answer.send_replace(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_a_loop_that_goes_round_or_ended_well_is_not_missed() {
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
    async fn all_that_answer_complete_it() {
        let watchdog = Watchdog::default();
        let mut heartbeat = watchdog.register("a");
        for _ in 0..2 {
            tokio::join!(watchdog.check(), heartbeat.respond());
        }
        assert_eq!(watchdog.unresponsive(), [""; 0]);
    }
}
