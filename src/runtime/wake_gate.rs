//! A `select` of two futures that polls the second only when something it waits for has
//! woken the task.
//!
//! A task of a connection or session has main work and side work, such as timers and
//! signals. An event for ten thousand sessions wakes ten thousand tasks, and nearly none
//! of them has side work to do; likewise a request wakes its connection, but rarely its
//! timers. Polling all the side work each time costs more than the main work.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Gives the side work of a task a waker of its own, and remembers whether it was used.
///
/// Main work is polled with the task's waker, side work with the gate's. The gate's waker
/// sets a flag and then wakes the task, so a poll of the task can tell the two apart.
#[derive(Debug)]
pub(crate) struct WakeGate {
    state: Arc<GateWaker>,
    /// `state` as the waker with which side work is polled.
    waker: Waker,
}

#[derive(Debug)]
struct GateWaker {
    /// Whether the side work must be polled.
    is_woken: AtomicBool,
    /// The waker of the task.
    task: AtomicWaker,
}

impl WakeGate {
    /// Creates a gate that polls the side work on the first call of
    /// [`select`](Self::select).
    pub(crate) fn new() -> Self {
        let state = Arc::new(GateWaker {
            is_woken: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            waker: Waker::from(Arc::clone(&state)),
            state,
        }
    }

    /// Makes the next [`select`](Self::select) poll the side work though nothing has woken
    /// it. The task must call this when its side work waits for something new, which has
    /// not been polled and so has no waker yet.
    pub(crate) fn force_poll(&self) {
        // Relaxed: the task itself reads the flag.
        self.state.is_woken.store(true, Ordering::Relaxed);
    }

    /// Completes with whichever is ready first: `main`, which is polled whenever the task
    /// is, or `side`, which is polled only when it was woken. `main` goes first unless
    /// `side_first` is true, for a task whose main work has just had its turn.
    ///
    /// Each call may pass a new `side`, as long as what it waits for is the same as
    /// before, or [`force_poll`](Self::force_poll) was called. Cancel-safe if both are.
    pub(crate) async fn select<T>(
        &self,
        side: impl Future<Output = T>,
        mut main: impl FnMut(&mut Context<'_>) -> Poll<T>,
        mut side_first: bool,
    ) -> T {
        let mut side = pin!(side);
        poll_fn(|cx| {
            let first = if std::mem::take(&mut side_first) {
                self.poll_side(cx, side.as_mut())
            } else {
                Poll::Pending
            };
            if first.is_ready() {
                return first;
            }
            match main(cx) {
                Poll::Pending => self.poll_side(cx, side.as_mut()),
                ready => ready,
            }
        })
        .await
    }

    /// Polls `side` if it was woken.
    fn poll_side<T>(&self, cx: &Context<'_>, side: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        // Register before reading the flag. A wake-up between the two is then seen by the
        // read; one after the read finds the registered waker. In the other order it could
        // be lost. `wake_by_ref` has the mirrored order: flag first, then the task.
        self.state.task.register(cx.waker());
        if !self.state.is_woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let polled = side.poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            // The caller will come with another future, of which parts may be ready or
            // have not been polled yet.
            self.force_poll();
        }
        polled
    }
}

impl Wake for GateWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The order matters; see `poll_side`.
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl Default for WakeGate {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::Notify;
    use tokio::time::Instant;

    use super::*;

    fn never<T>(_: &mut Context<'_>) -> Poll<T> {
        Poll::Pending
    }

    #[tokio::test]
    async fn future_not_woken_is_not_polled_again() {
        let (gate, polled) = (WakeGate::new(), Cell::new(0));
        let side = async {
            poll_fn(|_| {
                polled.set(polled.get() + 1);
                Poll::<()>::Pending
            })
            .await;
        };
        let mut both = pin!(gate.select(side, never, false));
        for _ in 0..3 {
            assert!(both.as_mut().now_or_never().is_none());
        }
        assert_eq!(polled.get(), 1);
        gate.force_poll();
        assert!(both.now_or_never().is_none());
        assert_eq!(polled.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn woken_future_wakes_the_task() {
        let (gate, notify) = (WakeGate::new(), Notify::new());
        let waits = gate.select(notify.notified(), never, false);
        let both = async { tokio::join!(waits, async { notify.notify_one() }) };
        let start = Instant::now();
        tokio::time::timeout(Duration::from_secs(1), both)
            .await
            .unwrap();
        assert_eq!(
            start.elapsed(),
            Duration::ZERO,
            "it was the clock that woke it"
        );
        // The next side future is polled though nothing has woken it.
        assert!(gate.select(async {}, never, false).now_or_never().is_some());
    }

    #[test]
    fn main_future_is_polled_first_unless_it_had_its_turn() {
        let gate = WakeGate::new();
        let first = |side_first| {
            let both = gate.select(async { "side" }, |_| Poll::Ready("main"), side_first);
            both.now_or_never().unwrap()
        };
        assert_eq!((first(false), first(true)), ("main", "side"));
        // Side work that is not ready does not delay the main work.
        let side = gate.select(pending(), |_| Poll::Ready("main"), true);
        assert_eq!(side.now_or_never(), Some("main"));
    }
}
