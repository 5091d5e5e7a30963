//! Sends to the sessions what waits for them, a few at a time.
//!
//! Were a thousand of them served at once, all else that has to be done would wait
//! behind them: an event for another room, a request, and the next event for them
//! too, which each would have to be sent by itself. A few at a time, what comes meanwhile
//! has its turn, and an event that follows is sent with the one that waits. Small rooms
//! do not wait behind large ones: they have a lane of their own.

use std::collections::VecDeque;
use std::convert::Infallible;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Outbox;

/// Sessions for which something waits, in each lane once.
#[derive(Debug, Default)]
pub(super) struct DeliveryScheduler {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    classes: [VecDeque<Outbox>; 2],
    /// How many are there to serve them.
    servers: usize,
}

/// Where sessions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueClass {
    /// For an event of a small room.
    Small,
    /// For an event of a large one.
    Large,
}

/// The lanes that one session stands in.
#[derive(Debug, Default)]
pub(super) struct QueueClasses([bool; 2]);

impl QueueClass {
    const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// Of a room with so many sessions.
    pub(super) fn of(sessions: usize) -> Self {
        match sessions {
            ..=BATCH_SIZE => Self::Small,
            _ => Self::Large,
        }
    }
}

impl QueueClasses {
    /// Whether it did not stand there already.
    pub(super) fn enter(&mut self, class: QueueClass) -> bool {
        !std::mem::replace(&mut self.0[class as usize], true)
    }

    pub(super) fn leave(&mut self, class: QueueClass) {
        self.0[class as usize] = false;
    }
}

impl DeliveryScheduler {
    /// Serves the `sessions` when it is their turn; if nobody does that, they are woken.
    pub(super) fn enqueue(&self, class: QueueClass, sessions: Vec<Outbox>) {
        if sessions.is_empty() {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.servers > 0 {
            queue.classes[class as usize].extend(sessions);
            drop(queue);
            self.more.notify_one();
        } else {
            drop(queue);
            sessions.iter().for_each(|session| session.wake(class));
        }
    }

    /// Serves who waits. Runs until it is dropped; if it was the last, those who wait then
    /// are woken.
    pub(super) async fn run(&self) -> Infallible {
        let _closing = ActiveGuard::begin(self);
        loop {
            let served = QueueClass::ALL.map(|class| self.serve_batch(class));
            if served.contains(&true) {
                tokio::task::yield_now().await
            } else {
                self.more.notified().await
            }
        }
    }

    /// Whether there was anybody.
    fn serve_batch(&self, class: QueueClass) -> bool {
        let some = std::iter::from_fn(|| self.next(class)).take(BATCH_SIZE);
        some.map(|session| session.deliver_now(class)).count() > 0
    }

    fn next(&self, class: QueueClass) -> Option<Outbox> {
        let mut queue = self.queue.lock();
        let sessions = &mut queue.classes[class as usize];
        let next = sessions.pop_front();
        match sessions.is_empty() {
            // A crowd that is served leaves no memory behind.
            true => *sessions = VecDeque::new(),
            // Whoever else serves may go on with the others.
            false => self.more.notify_one(),
        }
        next
    }
}

/// While it lives, there is somebody to serve the sessions.
struct ActiveGuard<'a>(&'a DeliveryScheduler);

impl<'a> ActiveGuard<'a> {
    fn begin(scheduler: &'a DeliveryScheduler) -> Self {
        scheduler.queue.lock().servers += 1;
        Self(scheduler)
    }
}

impl Drop for ActiveGuard<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.servers -= 1;
        if queue.servers > 0 {
            return;
        }
        let classes = std::mem::take(&mut queue.classes);
        drop(queue);
        for (class, sessions) in QueueClass::ALL.into_iter().zip(classes) {
            sessions.iter().for_each(|session| session.wake(class));
        }
    }
}

/// How many are served before all else has its turn. A room of no more is a small one.
const BATCH_SIZE: usize = 16;

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Context, Wake};

    use tokio_tungstenite::tungstenite::Utf8Bytes;

    use super::*;
    use crate::core::ids::RoomName;
    use crate::rooms::{
        Audience, Batch, DirectWriter, EventKind, Inbox, Publication, SendResult, channel,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Sessions that wait for what comes, and count that they were woken.
    struct Members {
        sessions: Vec<(Outbox, Inbox)>,
        count: Arc<Count>,
    }

    impl Members {
        fn gather(number: usize) -> Self {
            Self::gather_with(number, None)
        }

        fn gather_with(number: usize, direct_writer: Option<Arc<dyn DirectWriter>>) -> Self {
            let channel = |_| channel(8, 1024, direct_writer.clone());
            let sessions = (0..number).map(channel).collect();
            let count = Arc::default();
            Self { sessions, count }
        }

        /// Has all of them wait for their turn, with something that came since they last
        /// looked.
        fn wait(&self, scheduler: &DeliveryScheduler, class: QueueClass) {
            let waker = Arc::clone(&self.count).into();
            let cx = Context::from_waker(&waker);
            let mut called = Vec::new();
            for (outbox, inbox) in &self.sessions {
                while inbox.poll_next(&cx).is_ready() {}
                outbox.push(&something(), class, &mut called);
            }
            scheduler.enqueue(class, called);
        }

        fn woken(&self) -> usize {
            self.count.0.load(Relaxed)
        }
    }

    fn something() -> Arc<Publication> {
        let room = RoomName::ticket("1".parse().unwrap());
        let what = EventKind::Broadcast(Utf8Bytes::from_static("a"));
        Arc::new(Publication::new(room, what, Audience::All))
    }

    /// Lets it serve those whose turn it is.
    fn step(serving: Pin<&mut impl Future<Output = Infallible>>) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(serving.poll(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn a_few_are_served_and_the_others_have_their_turn_later() {
        let (scheduler, crowd) = (
            DeliveryScheduler::default(),
            Members::gather(3 * BATCH_SIZE),
        );
        let mut serving = pin!(scheduler.run());
        step(serving.as_mut());
        crowd.wait(&scheduler, QueueClass::Large);
        for turn in 1..=3 {
            step(serving.as_mut());
            assert_eq!(crowd.woken(), turn * BATCH_SIZE);
        }
        crowd.wait(&scheduler, QueueClass::Large);
        tokio::select! {
            never = serving => match never {},
            () = async {
                while crowd.woken() < 6 * BATCH_SIZE {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }

    #[tokio::test]
    async fn neither_small_nor_large_rooms_wait_for_the_other() {
        for (class, other) in [
            (QueueClass::Small, QueueClass::Large),
            (QueueClass::Large, QueueClass::Small),
        ] {
            let scheduler = DeliveryScheduler::default();
            let (many, one) = (Members::gather(3 * BATCH_SIZE), Members::gather(1));
            let mut serving = pin!(scheduler.run());
            step(serving.as_mut());
            many.wait(&scheduler, class);
            one.wait(&scheduler, other);
            step(serving.as_mut());
            assert_eq!((many.woken(), one.woken()), (BATCH_SIZE, 1));
        }
    }

    #[tokio::test]
    async fn nobody_is_left_asleep_when_the_last_who_serves_ends() {
        let (scheduler, crowd) = (
            DeliveryScheduler::default(),
            Members::gather(3 * BATCH_SIZE),
        );
        let mut two = [Box::pin(scheduler.run()), Box::pin(scheduler.run())];
        two.iter_mut().for_each(|one| step(one.as_mut()));
        crowd.wait(&scheduler, QueueClass::Large);
        let [mut first, mut last] = two;
        step(first.as_mut());
        drop(first);
        assert_eq!(crowd.woken(), BATCH_SIZE);
        step(last.as_mut());
        assert_eq!(crowd.woken(), 2 * BATCH_SIZE);
        drop(last);
        assert_eq!(crowd.woken(), 3 * BATCH_SIZE);
        crowd.wait(&scheduler, QueueClass::Large);
        assert_eq!(crowd.woken(), 6 * BATCH_SIZE);
    }

    #[derive(Debug)]
    struct Broken;

    impl DirectWriter for Broken {
        fn send(&self, _: &mut dyn FnMut() -> Batch) -> SendResult {
            panic!("a stream is broken, as this test wants it")
        }
    }

    #[tokio::test]
    async fn a_panic_takes_none_of_the_others_along() {
        let (scheduler, broken) = (
            DeliveryScheduler::default(),
            Members::gather_with(1, Some(Arc::new(Broken))),
        );
        let others = Members::gather(BATCH_SIZE);
        let mut two = [Box::pin(scheduler.run()), Box::pin(scheduler.run())];
        two.iter_mut().for_each(|one| step(one.as_mut()));
        broken.wait(&scheduler, QueueClass::Small);
        others.wait(&scheduler, QueueClass::Small);
        let [mut first, mut last] = two;
        let panics = std::panic::AssertUnwindSafe(|| step(first.as_mut()));
        assert!(std::panic::catch_unwind(panics).is_err());
        drop(first);
        step(last.as_mut());
        assert_eq!(others.woken(), BATCH_SIZE);
    }
}
