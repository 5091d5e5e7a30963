//! Delivers to parked sessions, in batches of [`BATCH_SIZE`] per queue class. One task per
//! worker thread runs [`DeliveryScheduler::run`].
//!
//! Between two batches a task yields, so an event to a room of a thousand does not hold up
//! requests and other rooms. An event that arrives meanwhile for a session that still waits
//! is sent to it in the same write. Small rooms have a class of their own and do not wait
//! behind large ones.
//!
//! A room enqueues its sessions under its own lock. A task that serves a session holds
//! neither that lock nor the scheduler's.
//!
//! No notification is lost: `enqueue` notifies after it has unlocked the queue,
//! a task looks at the queue before it waits, and `Notify` keeps one notification for a task
//! that does not wait yet. A task that leaves sessions behind notifies another one.

use std::collections::VecDeque;
use std::convert::Infallible;

use tokio::sync::Notify;

use super::outbox::Outbox;
use super::queue_class::{BATCH_SIZE, QueueClass};
use crate::runtime::sync::Mutex;

/// The sessions that wait for delivery, each at most once per class.
#[derive(Debug, Default)]
pub(in crate::rooms) struct DeliveryScheduler {
    /// Taken under a room's lock. No other lock is taken while it is held.
    queue: Mutex<Queue>,
    /// Wakes one task, or the next one that waits: a notification is never lost.
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    classes: [VecDeque<Outbox>; 2],
    /// The tasks in [`DeliveryScheduler::run`].
    servers: usize,
}

impl DeliveryScheduler {
    /// Queues `sessions` for delivery. If no task runs the scheduler, wakes them instead, and
    /// they write for themselves.
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
            // Waking locks the session's queue, and nothing is locked under the scheduler's.
            drop(queue);
            sessions.iter().for_each(|session| session.hand_back(class));
        }
    }

    /// Delivers to the sessions that wait, for ever. When the last running call is dropped,
    /// the sessions that still wait are woken.
    pub(in crate::rooms) async fn run(&self) -> Infallible {
        let _guard = ActiveGuard::begin(self);
        loop {
            let served = QueueClass::ALL.map(|class| self.serve_batch(class));
            if served.contains(&true) {
                tokio::task::yield_now().await
            } else {
                self.more.notified().await
            }
        }
    }

    /// Delivers to the next sessions of `class`; returns whether there were any.
    fn serve_batch(&self, class: QueueClass) -> bool {
        // One at a time: if a delivery panics, the others are still queued, and another task
        // was notified of them.
        let batch = std::iter::from_fn(|| self.next(class)).take(BATCH_SIZE);
        batch.map(|session| session.deliver_now(class)).count() > 0
    }

    /// Takes the next session of `class`, and wakes another task if more wait.
    fn next(&self, class: QueueClass) -> Option<Outbox> {
        let mut queue = self.queue.lock();
        let sessions = &mut queue.classes[class as usize];
        let next = sessions.pop_front();
        if sessions.is_empty() {
            // Frees the memory that a large room needed.
            *sessions = VecDeque::new();
        } else {
            self.more.notify_one();
        }
        next
    }
}

/// Counts a task of the scheduler while it lives. The last one releases the sessions that the
/// scheduler holds: from then on their own tasks deliver.
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
        // `enqueue` looks at `servers` under the same lock, so no session is queued after this.
        let classes = std::mem::take(&mut queue.classes);
        drop(queue);
        for (class, sessions) in QueueClass::ALL.into_iter().zip(classes) {
            sessions.iter().for_each(|session| session.hand_back(class));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Context, Wake};

    use super::*;
    use crate::core::ids::RoomName;
    use crate::rooms::delivery::direct_writer::{DirectWriter, SendResult};
    use crate::rooms::delivery::queue::Batch;
    use crate::rooms::{Audience, EventKind, Inbox, Publication, channel};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Parked sessions, with a count of their wake-ups.
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

        /// Parks all of them, then queues a publication for each.
        fn wait(&self, scheduler: &DeliveryScheduler, class: QueueClass) {
            let waker = Arc::clone(&self.count).into();
            let cx = Context::from_waker(&waker);
            let mut to_schedule = Vec::new();
            for (outbox, inbox) in &self.sessions {
                while inbox.poll_next(&cx).is_ready() {}
                outbox.push(&something(), class, &mut to_schedule);
            }
            scheduler.enqueue(class, to_schedule);
        }

        fn woken(&self) -> usize {
            self.count.0.load(Relaxed)
        }
    }

    fn something() -> Arc<Publication> {
        let room = RoomName::ticket("1".parse().unwrap());
        let what = EventKind::Broadcast("a".to_owned());
        Arc::new(Publication::new(room, what, Audience::All))
    }

    /// Polls the scheduler once, which serves one batch of each class.
    fn step(serving: Pin<&mut impl Future<Output = Infallible>>) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(serving.poll(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn scheduler_serves_a_few_sessions_per_turn() {
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
    async fn small_and_large_rooms_do_not_wait_for_each_other() {
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
    async fn scheduler_that_ends_wakes_all_waiting_sessions() {
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
    async fn panic_while_serving_leaves_other_sessions_served() {
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
