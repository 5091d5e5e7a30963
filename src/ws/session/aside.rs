//! What a session looks after beside its mail, and only when it is woken for it: an
//! event on its way to ten thousand sessions wakes each of them, and few of those have
//! been spoken to meanwhile.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Wakes the task for all but its mail, and remembers that.
pub(super) struct Aside {
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    /// The future is to be polled.
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Aside {
    /// The first future is polled.
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// Has the future polled though nothing woke it: there is something new in it.
    pub(super) fn look(&self) {
        self.bell.rung.store(true, Ordering::Relaxed);
    }

    /// Whichever is first ready: what `main` polls for, which the task is woken for, or
    /// `rest`, which comes first if `main` `had_its_turn`. Cancel-safe as both are.
    pub(super) async fn or<T>(
        &self,
        rest: impl Future<Output = T>,
        mut main: impl FnMut(&mut Context<'_>) -> Poll<T>,
        mut had_its_turn: bool,
    ) -> T {
        let mut rest = pin!(rest);
        poll_fn(|cx| {
            let first = match std::mem::take(&mut had_its_turn) {
                true => self.poll(cx, rest.as_mut()),
                false => Poll::Pending,
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
            self.look();
        }
        polled
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}
