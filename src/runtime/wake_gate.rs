//! What a task looks after beside its main work, and only when it is woken for it. An
//! event on its way to ten thousand sessions wakes each of them, and few of those have
//! been spoken to meanwhile; a request moves its connection on, and seldom its clocks.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Wakes the task for all but its main work, and remembers that.
#[derive(Debug)]
pub struct WakeGate {
    bell: Arc<GateWaker>,
    waker: Waker,
}

#[derive(Debug)]
struct GateWaker {
    /// The future is to be polled.
    rung: AtomicBool,
    task: AtomicWaker,
}

impl WakeGate {
    /// The first future is polled.
    pub fn new() -> Self {
        let bell = Arc::new(GateWaker {
            rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// Has the future polled though nothing woke it: there is something new in it.
    pub fn force_poll(&self) {
        self.bell.rung.store(true, Ordering::Relaxed);
    }

    /// Whichever is first ready: what `main` polls for, which the task is woken for, or
    /// `rest`, which comes first if `main` `had_its_turn`. Cancel-safe as both are.
    pub async fn select<T>(
        &self,
        rest: impl Future<Output = T>,
        mut main: impl FnMut(&mut Context<'_>) -> Poll<T>,
        mut had_its_turn: bool,
    ) -> T {
        let mut rest = pin!(rest);
        poll_fn(|cx| {
            let first = if std::mem::take(&mut had_its_turn) {
                self.poll(cx, rest.as_mut())
            } else {
                Poll::Pending
            };
            if first.is_ready() {
                return first;
            }
            match main(cx) {
                Poll::Pending => self.poll(cx, rest.as_mut()),
                ready => ready,
            }
        })
        .await
    }

    /// Polls `rest` if what it waits for, or what one before it waited for, may have
    /// come. Once it is ready the next one is polled in any case.
    fn poll<T>(&self, cx: &Context<'_>, rest: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        self.bell.task.register(cx.waker());
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let polled = rest.poll(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
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
        self.rung.store(true, Ordering::Release);
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
    async fn what_woke_nobody_is_not_polled_again() {
        let (aside, polled) = (WakeGate::new(), Cell::new(0));
        let rest = async {
            poll_fn(|_| {
                polled.set(polled.get() + 1);
                Poll::<()>::Pending
            })
            .await;
        };
        let mut both = pin!(aside.select(rest, never, false));
        for _ in 0..3 {
            assert!(both.as_mut().now_or_never().is_none());
        }
        assert_eq!(polled.get(), 1);
        aside.force_poll();
        assert!(both.now_or_never().is_none());
        assert_eq!(polled.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_woken_wakes_the_task() {
        let (aside, bell) = (WakeGate::new(), Notify::new());
        let waits = aside.select(bell.notified(), never, false);
        let both = async { tokio::join!(waits, async { bell.notify_one() }) };
        let start = Instant::now();
        tokio::time::timeout(Duration::from_secs(1), both)
            .await
            .unwrap();
        assert_eq!(
            start.elapsed(),
            Duration::ZERO,
            "it was the clock that woke it"
        );
        // The next is polled though nothing woke it.
        assert!(
            aside
                .select(async {}, never, false)
                .now_or_never()
                .is_some()
        );
    }

    #[test]
    fn the_main_work_comes_first_unless_it_had_its_turn() {
        let aside = WakeGate::new();
        let first = |had_its_turn| {
            let both = aside.select(async { "rest" }, |_| Poll::Ready("main"), had_its_turn);
            both.now_or_never().unwrap()
        };
        assert_eq!((first(false), first(true)), ("main", "rest"));
        // What waits for nothing new does not hold up the main work.
        let rest = aside.select(pending(), |_| Poll::Ready("main"), true);
        assert_eq!(rest.now_or_never(), Some("main"));
    }
}
