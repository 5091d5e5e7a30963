//! Graceful shutdown: spawns tasks, counts them, and signals them to end.
//!
//! Every task of the process is spawned here, so stopping is one signal
//! ([`Drain::token`]) and one wait with a deadline ([`Drain::stop`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and waits for them at shutdown. Cheap to clone; clones share the tasks and
/// the signal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain(Arc<Inner>);

/// The shared state. hyper clones its executor for each HTTP/2 stream; cloning one `Arc`
/// is cheaper than cloning a token, which takes a lock.
#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    tracker: TaskTracker,
}

impl Drain {
    /// Creates a drain without tasks that is not stopping.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Returns a part of this drain that can be retired on its own. Cancelling the whole
    /// cancels the part, and tasks of the part count as tasks of the whole.
    pub(crate) fn part(&self) -> Self {
        Self(Arc::new(Inner {
            token: self.0.token.child_token(),
            tracker: self.0.tracker.clone(),
        }))
    }

    /// Signals the tasks of this part to end, and does not wait for them.
    pub(crate) fn retire(&self) {
        self.0.token.cancel();
    }

    /// Spawns `task` on the runtime and counts it until it ends. Nothing else in this
    /// crate spawns tasks.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that spawns"
    )]
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.0.tracker.track_future(task))
    }

    /// Spawns `task` from a destructor: like [`Drain::spawn`], but does nothing outside a
    /// runtime, where a panic would abort the process. A destructor of a counted task may call
    /// this at any time: [`Drain::stop`] then waits for `task`, too.
    pub(crate) fn spawn_on_drop<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if Handle::try_current().is_ok() {
            drop(self.spawn(task));
        }
    }

    /// Returns the token that is cancelled when the process begins to stop or this part
    /// is retired.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.0.token
    }

    /// Returns whether the token has been cancelled.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// Returns the number of tasks that have not ended yet, those of other parts included.
    #[cfg(test)]
    pub(crate) fn tasks(&self) -> usize {
        self.0.tracker.len()
    }

    /// Signals every task to end and waits up to `timeout` for them. Returns the number of
    /// tasks that are still running then; they end with the runtime.
    ///
    /// Cancel-safe: the signal stays, only the wait ends.
    pub(crate) async fn stop(&self, timeout: Duration) -> usize {
        self.0.token.cancel();
        self.0.tracker.close();
        match tokio::time::timeout(timeout, self.0.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.0.tracker.len(),
        }
    }
}

/// Counts the tasks that hyper spawns for the streams of an HTTP/2 connection.
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
    async fn stop_waits_for_tasks_that_end() {
        let drain = Drain::new();
        let token = drain.token().clone();
        drain.spawn(async move { token.cancelled().await });
        assert_eq!(drain.stop(Duration::from_secs(30)).await, 0);
    }

    /// Spawns a task when it is dropped.
    struct Leaves(Drain, tokio::sync::mpsc::Sender<()>);

    impl Drop for Leaves {
        fn drop(&mut self) {
            let done = self.1.clone();
            self.0.spawn_on_drop(async move {
                tokio::task::yield_now().await;
                done.send(()).await.expect("the test waits");
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stop_waits_for_a_task_spawned_by_a_destructor() {
        let (drain, (done, mut is_done)) = (Drain::new(), tokio::sync::mpsc::channel(1));
        let (leaves, token) = (Leaves(drain.clone(), done), drain.token().clone());
        drain.spawn(async move {
            token.cancelled().await;
            drop(leaves);
        });
        assert_eq!(drain.stop(Duration::from_secs(30)).await, 0);
        assert!(is_done.try_recv().is_ok());
    }

    #[test]
    fn destructor_outside_a_runtime_spawns_nothing() {
        let drain = Drain::new();
        drop(Leaves(drain.clone(), tokio::sync::mpsc::channel(1).0));
        assert_eq!(drain.tasks(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn stop_after_its_timeout_counts_the_remaining_tasks() {
        let drain = Drain::new();
        drain.spawn(std::future::pending::<()>());
        assert_eq!(drain.stop(Duration::from_secs(30)).await, 1);
    }
}
