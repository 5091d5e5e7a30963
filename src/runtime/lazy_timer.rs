//! A timer for deadlines that move later far more often than they expire, such as that
//! of a request head or of a response. Registering and removing a tokio timer for each
//! takes a fiftieth of a small request. This timer stays registered instead, and checks
//! the current deadline when it fires.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// One reusable timer for successive deadlines. It allocates on first use.
#[derive(Debug, Default)]
pub(crate) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Polls for the deadline `due`. The task is woken at `due` at the latest, and
    /// sometimes earlier, when the timer fires for a deadline that has moved.
    pub(crate) fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // Only an earlier deadline needs a reset now. A later one waits until the timer
        // fires, which saves the reset for most requests.
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < due {
            // The timer has fired for an earlier deadline. The poll after the reset
            // registers the task's waker again.
            timer.as_mut().reset(due);
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    /// Completes at `due`. Cancel-safe.
    pub(crate) async fn sleep_until(&mut self, due: Instant) {
        poll_fn(|cx| self.poll_until(due, cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lazy_timer_set_again_fires_at_its_new_deadline() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut timer = LazyTimer::default();
        timer.sleep_until(at(2)).await;
        assert_eq!(start.elapsed().as_secs(), 2);
        // The awaited event comes before the deadline.
        tokio::select! {
            biased;
            () = sleep_until(at(4)) => {}
            () = timer.sleep_until(at(10)) => panic!("too early"),
        }
        timer.sleep_until(at(60)).await;
        assert_eq!(start.elapsed().as_secs(), 60);
        tokio::select! {
            biased;
            () = timer.sleep_until(at(3600)) => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        timer.sleep_until(at(70)).await;
        assert_eq!(start.elapsed().as_secs(), 70);
        timer.sleep_until(at(5)).await;
        assert_eq!(start.elapsed().as_secs(), 70);
    }
}
