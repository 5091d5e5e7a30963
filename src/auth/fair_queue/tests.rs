//! Tests of the queue, in paused time. A request is a task that records when it gets its
//! place, and keeps the place until the test takes it.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::LocalSet;

use super::*;
use crate::auth::Token;
use crate::core::client_ip::ClientIp;

/// The requests under way, in the order in which they got their places.
#[derive(Clone, Default)]
struct Running(Rc<RefCell<Vec<(String, QueuePermit)>>>);

impl Running {
    fn names(&self) -> Vec<String> {
        let running = self.0.borrow();
        running.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Ends the oldest request; returns its name.
    async fn end_oldest(&self) -> String {
        let (name, place) = self.0.borrow_mut().remove(0);
        drop(place);
        settle().await;
        name
    }
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn owner(client: u8, token: &str) -> Owner {
    Owner {
        client: ClientIp::new([192, 0, 2, client].into()).key(64),
        credential: Token::new(token).unwrap().hash(),
    }
}

async fn ask(queue: &FairQueue, running: &Running, name: &str, owner: Owner, urgency: Urgency) {
    let (queue, running, name) = (queue.clone(), running.clone(), name.to_owned());
    tokio::task::spawn_local(async move {
        let place = queue.acquire(owner, urgency).await.unwrap();
        running.0.borrow_mut().push((name, place));
    });
    settle().await;
}

async fn in_local<F: Future<Output = ()>>(test: F) {
    LocalSet::new().run_until(test).await;
}

#[tokio::test(start_paused = true)]
async fn client_with_many_requests_leaves_half_the_places_to_others() {
    in_local(async {
        let (queue, running) = (FairQueue::new(4), Running::default());
        for n in 0..160 {
            let owner = owner(1, &format!("token{}", n % 10));
            ask(&queue, &running, "flood", owner, Urgency::Routine).await;
        }
        // Alone it leaves one place to the first newcomer; from then on it has half of them.
        assert_eq!(running.names(), ["flood"; 3]);
        for name in ["second", "third"] {
            ask(&queue, &running, name, owner(2, name), Urgency::Routine).await;
        }
        assert_eq!(running.names(), ["flood", "flood", "flood", "second"]);
        running.end_oldest().await;
        assert_eq!(running.names(), ["flood", "flood", "second", "third"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn token_on_many_addresses_holds_half_the_places_at_most() {
    in_local(async {
        let (queue, running) = (FairQueue::new(4), Running::default());
        for client in 0..50 {
            ask(
                &queue,
                &running,
                "flood",
                owner(client, "a"),
                Urgency::Routine,
            )
            .await;
        }
        ask(&queue, &running, "other", owner(99, "b"), Urgency::Routine).await;
        running.end_oldest().await;
        assert_eq!(running.names(), ["flood", "flood", "other"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_and_their_tokens_take_turns() {
    in_local(async {
        let (queue, running) = (FairQueue::new(1), Running::default());
        for (name, owner) in [
            ("1a", owner(1, "a")),
            ("1a", owner(1, "a")),
            ("1a", owner(1, "a")),
            ("1b", owner(1, "b")),
            ("2c", owner(2, "c")),
        ] {
            ask(&queue, &running, name, owner, Urgency::Routine).await;
        }
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(running.end_oldest().await);
        }
        assert_eq!(order, ["1a", "1a", "2c", "1b", "1a"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn urgent_requests_come_first_and_leave_one_place() {
    in_local(async {
        let (queue, running) = (FairQueue::new(2), Running::default());
        for (client, token) in [(1, "a"), (2, "b")] {
            let owner = owner(client, token);
            ask(&queue, &running, "first", owner, Urgency::Routine).await;
        }
        ask(&queue, &running, "routine", owner(3, "r"), Urgency::Routine).await;
        for client in 4..=6 {
            let owner = owner(client, &client.to_string());
            ask(&queue, &running, "urgent", owner, Urgency::Urgent).await;
        }
        running.end_oldest().await;
        assert_eq!(running.names(), ["first", "urgent"]);
        running.end_oldest().await;
        assert_eq!(running.names(), ["urgent", "routine"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn token_with_many_urgent_requests_holds_half_the_places() {
    in_local(async {
        let (queue, running) = (FairQueue::new(4), Running::default());
        for _ in 0..50 {
            ask(&queue, &running, "flood", owner(1, "a"), Urgency::Urgent).await;
        }
        ask(&queue, &running, "other", owner(1, "b"), Urgency::Urgent).await;
        ask(&queue, &running, "join", owner(2, "c"), Urgency::Routine).await;
        running.end_oldest().await;
        running.end_oldest().await;
        let mut names = running.names();
        names.sort();
        assert_eq!(names, ["flood", "flood", "join", "other"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cancelled_waiter_is_skipped() {
    in_local(async {
        let (queue, running) = (FairQueue::new(1), Running::default());
        ask(&queue, &running, "first", owner(1, "a"), Urgency::Routine).await;
        {
            let gone = queue.acquire(owner(2, "b"), Urgency::Routine);
            let gone = tokio::time::timeout(Duration::from_millis(1), gone).await;
            assert!(gone.is_err());
        }
        ask(&queue, &running, "third", owner(3, "c"), Urgency::Routine).await;
        running.end_oldest().await;
        assert_eq!(running.names(), ["third"]);
        running.end_oldest().await;
        let state = queue.0.lock();
        assert_eq!((state.running, state.routine.len), (0, 0));
        assert!(state.by_client.is_empty() && state.by_credential.is_empty());
        assert!(state.routine.waiting.is_empty() && state.routine.order.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn full_queue_rejects_its_client_alone() {
    in_local(async {
        let (queue, running) = (FairQueue::new(1), Running::default());
        ask(&queue, &running, "first", owner(1, "a"), Urgency::Routine).await;
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING_PER_CLIENT {
            let mut one = Box::pin(queue.acquire(owner(1, "a"), Urgency::Routine));
            assert!(futures_util::poll!(&mut one).is_pending());
            waiting.push(one);
        }
        let full = queue.acquire(owner(1, "a"), Urgency::Routine).await;
        assert_eq!(full.map(drop), Err(QueueError::Full));
        ask(&queue, &running, "other", owner(2, "b"), Urgency::Routine).await;
        drop(waiting);
        running.end_oldest().await;
        assert_eq!(running.names(), ["other"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn request_in_a_queue_that_moves_waits_for_its_turn() {
    in_local(async {
        let (queue, running) = (FairQueue::new(1), Running::default());
        for number in 0..10 {
            let owner = owner(number, "a");
            ask(
                &queue,
                &running,
                &number.to_string(),
                owner,
                Urgency::Routine,
            )
            .await;
        }
        for _ in 0..9 {
            tokio::time::advance(QUEUE_TIMEOUT / 2).await;
            running.end_oldest().await;
        }
        assert_eq!(running.names(), ["9"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn request_in_a_stalled_queue_times_out() {
    in_local(async {
        let queue = FairQueue::new(1);
        let _held = queue
            .acquire(owner(1, "a"), Urgency::Routine)
            .await
            .unwrap();
        let second = queue.acquire(owner(2, "b"), Urgency::Routine).await;
        assert_eq!(second.map(drop), Err(QueueError::Timeout));
    })
    .await;
}
