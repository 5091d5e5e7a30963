//! A deadline that is put off more often than it comes: that of a request's head, of
//! an answer that is waited for. To set a timer for each and to take it away takes a
//! fiftieth of a small request, so the timer stays, and looks again when it rings.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for deadlines one after the other.
#[derive(Debug, Default)]
pub struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Whether it is `due`. The task is woken then, and now and then before.
    pub fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < due {
            // It was set for an earlier one.
            timer.as_mut().reset(due);
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    /// Completes when it is `due`. Cancel-safe.
    pub async fn sleep_until(&mut self, due: Instant) {
        poll_fn(|cx| self.poll_until(due, cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_it_is_due_whatever_it_was_set_for_before() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut timer = LazyTimer::default();
        timer.sleep_until(at(2)).await;
        assert_eq!(start.elapsed().as_secs(), 2);
        // What was waited for came before.
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
