//! Tests of `resume`, which joins many tickets in one message.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;

/// The payload of a `resume` that names `tickets`.
fn tickets(tickets: impl IntoIterator<Item = u64>) -> Value {
    let members = tickets.into_iter().map(|id| (id.to_string(), Value::Null));
    json!({ "tickets": members.collect::<Map<_, _>>() })
}

impl Client {
    /// Reads one event for each of `count` tickets; returns those that were joined, in their
    /// order, and the codes of the errors by ticket.
    async fn joins(&mut self, count: usize) -> (Vec<u64>, Vec<(u64, String)>) {
        let (mut joined, mut errors) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let event = self.event().await;
            let payload = &event["payload"];
            let ticket = payload["ticket_id"].as_u64().unwrap();
            match event["type"].as_str() {
                Some("ticket_joined") => joined.push(ticket),
                Some("error") => {
                    errors.push((ticket, payload["code"].as_str().unwrap().to_owned()));
                }
                _ => panic!("{event}"),
            }
        }
        (joined, errors)
    }
}

/// A phone with twenty tickets, more than Laravel is asked about at once.
#[tokio::test(start_paused = true)]
async fn resume_joins_each_ticket_once_and_counts_as_one_message() {
    let edge = Edge::with(Settings {
        messages_per_second: PositiveCount::new(1),
        message_burst: PositiveCount::new(2),
        ..Settings::default()
    });
    let mut ana = edge.open(3).await;
    edge.laravel.take_asked();
    let start = Instant::now();
    ana.say("resume", tickets(1..=20)).await;
    let (joined, errors) = ana.joins(20).await;
    assert_eq!(
        joined.into_iter().collect::<BTreeSet<_>>(),
        (1..=20).collect()
    );
    assert_eq!(errors, []);
    assert_eq!(edge.laravel.take_asked().len(), 20);
    ana.assert_alive().await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    for ticket in 1..=20 {
        assert_eq!(edge.publish(ticket, "here").sessions, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn ticket_of_a_resume_that_fails_has_its_own_error() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 8);
    edge.laravel.change(|app| app.failing_tickets.extend([9]));
    ana.say("resume", tickets(6..=10)).await;
    let (joined, errors) = ana.joins(5).await;
    // The room of ticket 7 is joined already: Laravel decides nothing.
    assert_eq!(joined[0], 7);
    assert_eq!(
        joined.into_iter().collect::<BTreeSet<_>>(),
        [6, 7, 10].into()
    );
    let code = |code: &str| code.to_owned();
    assert_eq!(errors, [(8, code("denied")), (9, code("unavailable"))]);
}

#[tokio::test(start_paused = true)]
async fn slow_ticket_of_a_resume_delays_no_other_and_no_command() {
    let edge = Edge::new();
    edge.laravel.change(|app| app.slow_tickets.extend([1]));
    let mut ana = edge.open(3).await;
    let start = Instant::now();
    ana.say("resume", tickets(1..=40)).await;
    let (joined, _) = ana.joins(39).await;
    assert_eq!(
        joined.into_iter().collect::<BTreeSet<_>>(),
        (2..=40).collect()
    );
    ana.assert_alive().await;
    let typing = json!({ "ticket_id": 40, "is_typing": true });
    ana.say("typing_indicator", typing).await;
    ana.join(41).await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(ana.joins(1).await.0, [1]);
}

#[tokio::test(start_paused = true)]
async fn command_about_a_queued_ticket_waits_for_its_join() {
    let edge = Edge::new();
    let mut ben = edge.open_in(120, 4).await;
    edge.laravel.change(|app| app.delay = 200 * MS);
    let mut ana = edge.open(3).await;
    ana.say("resume", tickets(101..=120)).await;
    let typing = json!({ "ticket_id": 120, "is_typing": true });
    ana.say("typing_indicator", typing).await;
    let (joined, errors) = ana.joins(20).await;
    assert_eq!((joined.len(), errors), (20, Vec::new()));
    assert_eq!(ben.event().await["type"], "user_joined");
    assert_eq!(ben.event().await["type"], "typing_indicator");
}

#[tokio::test(start_paused = true)]
async fn queued_ticket_that_the_client_leaves_is_not_joined() {
    let edge = Edge::new();
    edge.laravel.change(|app| app.delay = 200 * MS);
    let mut ana = edge.open(3).await;
    ana.say("resume", tickets(101..=120)).await;
    ana.say("leave_ticket", json!({ "ticket_id": 120 })).await;
    let (joined, _) = ana.joins(19).await;
    assert_eq!(
        joined.into_iter().collect::<BTreeSet<_>>(),
        (101..120).collect()
    );
    ana.assert_quiet_for(20 * SECOND).await;
    assert_eq!(edge.publish(120, "a").sessions, 0);
}

/// As a client does that joins its ticket first, and the others then.
#[tokio::test(start_paused = true)]
async fn resume_of_a_pending_ticket_waits_for_the_decision_about_it_alone() {
    let edge = Edge::new();
    edge.laravel.change(|app| app.slow_tickets.extend([1]));
    let mut ana = edge.open(3).await;
    ana.say("join_ticket", json!({ "ticket_id": 1 })).await;
    ana.say("resume", tickets(1..=3)).await;
    let (mut joined, _) = ana.joins(4).await;
    joined[..2].sort_unstable();
    assert_eq!(joined, [2, 3, 1, 1]);
    ana.assert_quiet_for(20 * SECOND).await;
}

/// Nothing else of the client waits meanwhile, and it is not closed for it.
#[tokio::test(start_paused = true)]
async fn resume_over_the_join_rate_is_paced_and_ends_no_session() {
    let edge = Edge::with(Settings {
        joins_per_minute: PositiveCount::new(30),
        join_burst: PositiveCount::new(10),
        ..Settings::default()
    });
    let mut ana = edge.open(3).await;
    let start = Instant::now();
    ana.say("resume", tickets(1..=30)).await;
    assert_eq!(ana.joins(10).await.0.len(), 10);
    ana.assert_alive().await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(ana.joins(20).await.0.len(), 20);
    let waited = start.elapsed();
    assert!((39 * SECOND..42 * SECOND).contains(&waited), "{waited:?}");
    ana.say("leave_ticket", json!({ "ticket_id": 1 })).await;
    ana.join(31).await;
}

/// A message may cause no flood of responses about rooms that the session is in.
#[tokio::test(start_paused = true)]
async fn resume_of_joined_tickets_counts_against_the_join_rate() {
    let edge = Edge::with(Settings {
        joins_per_minute: PositiveCount::new(30),
        join_burst: PositiveCount::new(10),
        ..Settings::default()
    });
    let mut ana = edge.open(3).await;
    ana.say("resume", tickets(1..=5)).await;
    ana.say("resume", tickets(1..=5)).await;
    assert_eq!(ana.joins(10).await.0.len(), 10);
    let start = Instant::now();
    ana.say("resume", tickets(1..=5)).await;
    // The next one waits for this one.
    ana.say("resume", tickets(1..=5)).await;
    assert_eq!(ana.joins(10).await.0.len(), 10);
    assert!(start.elapsed() >= 19 * SECOND, "{:?}", start.elapsed());
}

/// A phone on a poor network, which comes back with all its tickets ten times in a minute.
#[tokio::test(start_paused = true)]
async fn phone_that_reconnects_often_is_delayed_by_no_rate() {
    let edge = Edge::new();
    for _ in 0..10 {
        let mut ana = edge.open(3).await;
        let start = Instant::now();
        ana.say("resume", tickets(1..=20)).await;
        assert_eq!(ana.joins(20).await.0.len(), 20);
        assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
        ana.lose().await;
        tokio::time::sleep(6 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn resume_of_as_many_tickets_as_rooms_works_and_of_more_is_rejected() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    let error = ana.refused("resume", tickets(1..=101)).await;
    assert_eq!(error, "too_many_rooms");
    ana.say("resume", tickets(1..=100)).await;
    assert_eq!(ana.joins(100).await.0.len(), 100);
    ana.say("resume", tickets(101..=102)).await;
    let code = "too_many_rooms".to_owned();
    let errors = vec![(101, code.clone()), (102, code)];
    assert_eq!(ana.joins(2).await, (Vec::new(), errors));
}

#[tokio::test(start_paused = true)]
async fn resume_with_a_mistake_joins_no_ticket() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    edge.laravel.take_asked();
    for (payload, named) in [
        (json!({ "tickets": { "1": null, "x9": null } }), "\"x9\""),
        (json!({ "tickets": [1] }), "\"tickets\""),
    ] {
        ana.say("resume", payload).await;
        let event = ana.event().await;
        assert_eq!(event["payload"]["code"], "invalid_payload");
        let message = event["payload"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{message}");
    }
    // No ticket is no mistake.
    ana.say("resume", tickets([])).await;
    ana.assert_alive().await;
    assert_eq!(edge.laravel.take_asked(), [""; 0]);
}
