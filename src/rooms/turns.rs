//! Wakes the sessions of a large room a few at a time.
//!
//! Were a thousand of them woken at once, all else that has to be done would wait
//! behind them: an event for another room, a request, and the next event for them
//! too, which each would have to write by itself. A few at a time, what comes meanwhile
//! has its turn, and an event that follows is written with the one that waits.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::Waker;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

/// Sessions that are to be woken.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    sessions: VecDeque<Waker>,
    /// Whether somebody is there to wake them.
    is_served: bool,
}

impl Turns {
    /// Wakes `sessions` when it is their turn; at once if nobody looks after that.
    pub(super) fn wait(&self, sessions: Vec<Waker>) {
        let mut queue = self.queue.lock();
        if queue.is_served {
            queue.sessions.extend(sessions);
            drop(queue);
            self.more.notify_one();
        } else {
            drop(queue);
            sessions.into_iter().for_each(Waker::wake);
        }
    }

    /// Wakes who waits. Runs until it is dropped; those who wait then are woken.
    pub(super) async fn serve(&self) -> Infallible {
        let _closing = Served::begin(self);
        loop {
            let some = self.next();
            if some.is_empty() {
                self.more.notified().await;
                continue;
            }
            some.into_iter().for_each(Waker::wake);
            tokio::task::yield_now().await;
        }
    }

    fn next(&self) -> SmallVec<[Waker; AT_A_TIME]> {
        let sessions = &mut self.queue.lock().sessions;
        // Of a great crowd more, so that it goes faster than it can come: who woke for
        // another reason meanwhile may wait here twice.
        let some = (sessions.len() / AT_A_TIME)
            .max(AT_A_TIME)
            .min(sessions.len());
        let next = sessions.drain(..some).collect();
        if sessions.is_empty() {
            // A crowd that is served leaves no memory behind.
            *sessions = VecDeque::new();
        }
        next
    }
}

/// While it lives, there is somebody to wake sessions.
struct Served<'a>(&'a Turns);

impl<'a> Served<'a> {
    fn begin(turns: &'a Turns) -> Self {
        turns.queue.lock().is_served = true;
        Self(turns)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let left = std::mem::take(&mut *self.0.queue.lock());
        left.sessions.into_iter().for_each(Waker::wake);
    }
}

/// How many are woken before all else has its turn, or a part of those who wait, if
/// that is more; smaller rooms are woken at once.
pub(super) const AT_A_TIME: usize = 32;

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn crowd(count: &Arc<Count>) -> Vec<Waker> {
        vec![Waker::from(Arc::clone(count)); 3 * AT_A_TIME]
    }

    /// Lets it wake whose turn it is.
    fn step(serving: Pin<&mut impl Future<Output = Infallible>>) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(serving.poll(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn a_few_are_woken_and_the_others_have_their_turn_later() {
        let (turns, count) = (Turns::default(), Arc::<Count>::default());
        let mut serving = pin!(turns.serve());
        step(serving.as_mut());
        turns.wait(crowd(&count));
        for turn in 1..=3 {
            step(serving.as_mut());
            assert_eq!(count.0.load(Relaxed), turn * AT_A_TIME);
        }
        turns.wait(crowd(&count));
        tokio::select! {
            never = serving => match never {},
            () = async {
                while count.0.load(Relaxed) < 6 * AT_A_TIME {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }

    #[tokio::test]
    async fn nobody_is_left_asleep_when_it_ends() {
        let (turns, count) = (Turns::default(), Arc::<Count>::default());
        {
            let mut serving = pin!(turns.serve());
            step(serving.as_mut());
            turns.wait(crowd(&count));
            step(serving.as_mut());
            assert_eq!(count.0.load(Relaxed), AT_A_TIME);
        }
        assert_eq!(count.0.load(Relaxed), 3 * AT_A_TIME);
        turns.wait(crowd(&count));
        assert_eq!(count.0.load(Relaxed), 6 * AT_A_TIME);
    }
    /// What comes in each turn may be more than a few.
    #[tokio::test]
    async fn a_great_crowd_goes_faster() {
        let (turns, count) = (Turns::default(), Arc::<Count>::default());
        let mut serving = pin!(turns.serve());
        step(serving.as_mut());
        for _ in 0..AT_A_TIME {
            turns.wait(crowd(&count));
        }
        step(serving.as_mut());
        assert_eq!(count.0.load(Relaxed), 3 * AT_A_TIME);
    }
}
