//! Wakes the sessions of a large room a few at a time.
//!
//! Were a thousand of them woken at once, all else that has to be done would wait
//! behind them: an event for another room, a request, and the next event for them
//! too, which each would have to write by itself. A few at a time, what comes meanwhile
//! has its turn, and an event that follows is written with the one that waits.

use std::collections::VecDeque;
use std::convert::Infallible;

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Outbox;

/// Sessions that are to be woken, each of them once.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    sessions: VecDeque<Outbox>,
    /// Whether somebody is there to wake them.
    is_served: bool,
}

impl Turns {
    /// Wakes the `crowd` when it is their turn; at once if nobody looks after that.
    pub(super) fn wait(&self, crowd: Vec<Outbox>) {
        let mut queue = self.queue.lock();
        if queue.is_served {
            queue.sessions.extend(crowd);
            drop(queue);
            self.more.notify_one();
        } else {
            drop(queue);
            crowd.iter().for_each(Outbox::call);
        }
    }

    /// Wakes who waits. Runs until it is dropped; those who wait then are woken.
    pub(super) async fn serve(&self) -> Infallible {
        let _closing = Served::begin(self);
        let at_a_time = A_FEW * Handle::current().metrics().num_workers();
        loop {
            let some = self.next(at_a_time);
            if some.is_empty() {
                self.more.notified().await;
                continue;
            }
            some.iter().for_each(Outbox::call);
            tokio::task::yield_now().await;
        }
    }

    fn next(&self, at_a_time: usize) -> SmallVec<[Outbox; A_FEW]> {
        let sessions = &mut self.queue.lock().sessions;
        let next = sessions.drain(..at_a_time.min(sessions.len())).collect();
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
        left.sessions.iter().for_each(Outbox::call);
    }
}

/// How many each worker thread wakes before all else has its turn; smaller rooms are
/// woken at once.
pub(super) const A_FEW: usize = 32;

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Context, Wake};

    use tokio_tungstenite::tungstenite::Utf8Bytes;

    use super::*;
    use crate::ids::RoomName;
    use crate::rooms::{Audience, Inbox, Publication, What, channel};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Three times a few who wait for what comes, and count that they were woken.
    struct Crowd {
        sessions: Vec<(Outbox, Inbox)>,
        count: Arc<Count>,
    }

    impl Crowd {
        fn gather() -> Self {
            let sessions = (0..3 * A_FEW).map(|_| channel(8, 1024)).collect();
            let count = Arc::default();
            Self { sessions, count }
        }

        /// Tells all of them something, which they have taken before.
        fn told(&self) -> Vec<Outbox> {
            let waker = Arc::clone(&self.count).into();
            let cx = Context::from_waker(&waker);
            let mut crowd = Vec::new();
            for (outbox, inbox) in &self.sessions {
                while inbox.poll_next(&cx).is_ready() {}
                outbox.push(&something(), Some(&mut crowd));
            }
            crowd
        }

        fn woken(&self) -> usize {
            self.count.0.load(Relaxed)
        }
    }

    fn something() -> Arc<Publication> {
        let room = RoomName::ticket("1".parse().unwrap());
        let what = What::Broadcast(Utf8Bytes::from_static("a"));
        Arc::new(Publication::new(room, what, Audience::All))
    }

    /// Lets it wake whose turn it is.
    fn step(serving: Pin<&mut impl Future<Output = Infallible>>) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(serving.poll(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn a_few_are_woken_and_the_others_have_their_turn_later() {
        let (turns, crowd) = (Turns::default(), Crowd::gather());
        let mut serving = pin!(turns.serve());
        step(serving.as_mut());
        turns.wait(crowd.told());
        for turn in 1..=3 {
            step(serving.as_mut());
            assert_eq!(crowd.woken(), turn * A_FEW);
        }
        turns.wait(crowd.told());
        tokio::select! {
            never = serving => match never {},
            () = async {
                while crowd.woken() < 6 * A_FEW {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }

    #[tokio::test]
    async fn nobody_is_left_asleep_when_it_ends() {
        let (turns, crowd) = (Turns::default(), Crowd::gather());
        {
            let mut serving = pin!(turns.serve());
            step(serving.as_mut());
            turns.wait(crowd.told());
            step(serving.as_mut());
            assert_eq!(crowd.woken(), A_FEW);
        }
        assert_eq!(crowd.woken(), 3 * A_FEW);
        turns.wait(crowd.told());
        assert_eq!(crowd.woken(), 6 * A_FEW);
    }
}
