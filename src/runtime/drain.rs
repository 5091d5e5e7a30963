//! One place that starts tasks, counts them, and tells them to end.
//!
//! Every task of the process is spawned here, so that stopping is one signal
//! ([`Drain::token`]) and one wait with a limit ([`Drain::stop`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and waits for them at the end. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Drain(Arc<Inner>);

/// Behind one count: hyper clones its executor for each HTTP/2 stream, and to
/// clone a token takes a lock.
#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Drain {
    /// A drain with no task and no stop asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part of this one that can be told to end before the whole: its token is
    /// cancelled with this one's, its tasks are counted here.
    pub fn part(&self) -> Self {
        Self(Arc::new(Inner {
            token: self.0.token.child_token(),
            tracker: self.0.tracker.clone(),
        }))
    }

    /// Asks the tasks of this part to end, and does not wait.
    pub fn retire(&self) {
        self.0.token.cancel();
    }

    /// Runs `task` to its end, counted. The only door to the runtime's spawn.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that spawns"
    )]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.0.tracker.track_future(task))
    }

    /// Cancelled when the process begins to stop.
    pub fn token(&self) -> &CancellationToken {
        &self.0.token
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// Tasks that have not ended yet.
    pub fn tasks(&self) -> usize {
        self.0.tracker.len()
    }

    /// Asks every task to end and waits, `grace` at most. Returns how many
    /// tasks were still running then; they end with the runtime.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.0.token.cancel();
        self.0.tracker.close();
        match tokio::time::timeout(grace, self.0.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.0.tracker.len(),
        }
    }
}

/// hyper runs the handlers of h2 streams as tasks of their own; this counts them.
impl<F> hyper::rt::Executor<F> for Drain
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        drop(self.spawn(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_waits_for_tasks_that_obey() {
        let drain = Drain::new();
        let token = drain.token().clone();
        drain.spawn(async move { token.cancelled().await });
        assert_eq!(drain.stop(Duration::from_secs(30)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn stop_gives_up_after_the_grace_and_counts_the_rest() {
        let drain = Drain::new();
        drain.spawn(std::future::pending::<()>());
        assert_eq!(drain.stop(Duration::from_secs(30)).await, 1);
    }
}
