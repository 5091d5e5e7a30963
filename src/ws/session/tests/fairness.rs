//! Tests of many requests to Laravel at once: no client waits for another's.

use serde_json::json;

use super::*;

#[tokio::test(start_paused = true)]
async fn user_with_many_joins_does_not_delay_another_user() {
    let edge = Edge::new();
    let mut flood = Vec::new();
    for _ in 0..10 {
        flood.push(edge.open(3).await);
    }
    let mut ben = edge.open_from([192, 0, 2, 2], 4).await;
    edge.laravel.change(|app| app.delay = 200 * MS);
    for (number, session) in flood.iter_mut().enumerate() {
        for ticket in 0..16 {
            let ticket = json!({"ticket_id": 1000 + number * 16 + ticket});
            session.say("join_ticket", ticket).await;
        }
    }
    settled().await;
    let start = Instant::now();
    ben.join(7).await;
    assert!(start.elapsed() < 300 * MS, "{:?}", start.elapsed());
}

/// An account has half of the places, from whichever addresses.
#[tokio::test(start_paused = true)]
async fn user_at_many_addresses_does_not_delay_another_user() {
    let edge = Edge::new();
    let mut flood = Vec::new();
    for host in 10..20 {
        flood.push(edge.open_from([192, 0, 2, host], 3).await);
    }
    let mut ben = edge.open_from([192, 0, 2, 2], 4).await;
    edge.laravel.change(|app| app.delay = 200 * MS);
    for (number, session) in flood.iter_mut().enumerate() {
        let ticket = json!({"ticket_id": 1000 + number});
        session.say("join_ticket", ticket).await;
    }
    settled().await;
    let start = Instant::now();
    ben.join(7).await;
    assert!(start.elapsed() < 300 * MS, "{:?}", start.elapsed());
}

/// Requests wait for each other longer than Laravel may take, and that is no outage.
#[tokio::test(start_paused = true)]
async fn crowd_that_reconnects_joins_despite_a_long_queue() {
    let waited = join_in_a_crowd(2 * SECOND).await;
    assert!(waited >= 9 * SECOND, "{waited:?}");
}

/// One after the other through four places they would need ten seconds.
#[tokio::test(start_paused = true)]
async fn crowd_that_reconnects_gets_more_places_while_laravel_is_fast() {
    let waited = join_in_a_crowd(200 * MS).await;
    assert!(waited < 6 * SECOND, "{waited:?}");
}

/// Lets 200 users join one ticket at once, of which Laravel responds after `delay`. Returns
/// the time until all are in.
async fn join_in_a_crowd(delay: Duration) -> Duration {
    let edge = Edge::new();
    edge.laravel.change(|app| app.delay = delay);
    let mut crowd = Vec::new();
    for number in 1..=200 {
        let [_, _, high, low] = u32::to_be_bytes(number);
        crowd.push(edge.open_from([10, 0, high, low], u64::from(number)).await);
    }
    for client in &mut crowd {
        client.say("join_ticket", json!({"ticket_id": 7})).await;
    }
    let start = Instant::now();
    for client in &mut crowd {
        assert_eq!(client.event().await["type"], "ticket_joined");
    }
    start.elapsed()
}

/// An office behind one address has all places but one while no other client asks.
#[tokio::test(start_paused = true)]
async fn office_at_one_address_joins_at_the_pace_of_laravel() {
    let edge = Edge::new();
    let mut office = Vec::new();
    for user in 1..=200 {
        office.push(edge.open(user).await);
    }
    edge.laravel.change(|app| app.delay = 150 * MS);
    for client in &mut office {
        for ticket in 0..5 {
            client
                .say("join_ticket", json!({"ticket_id": 7 + ticket}))
                .await;
        }
    }
    let start = Instant::now();
    for client in &mut office {
        for _ in 0..5 {
            let event = client.event().await;
            assert_ne!(event["type"], "error", "{event}");
        }
    }
    // A thousand by 31, after the start with three.
    assert!(start.elapsed() < 12 * SECOND, "{:?}", start.elapsed());
}

/// All sessions of a user share one rate; joins above it wait, and end no session.
#[tokio::test(start_paused = true)]
async fn joins_of_all_sessions_of_a_user_share_one_rate() {
    let edge = Edge::with(Settings {
        joins_per_minute: PositiveCount::new(10),
        join_burst: PositiveCount::new(10),
        ..Settings::default()
    });
    let mut tabs = Vec::new();
    for number in 0..4 {
        let mut tab = edge.open(3).await;
        for ticket in 0..10 {
            let ticket = json!({"ticket_id": 1000 + number * 10 + ticket});
            tab.say("join_ticket", ticket).await;
        }
        tabs.push(tab);
    }
    let start = Instant::now();
    for (number, tab) in tabs.iter_mut().enumerate() {
        for _ in 0..10 {
            assert_eq!(tab.event().await["type"], "ticket_joined", "{number}");
        }
    }
    // Thirty at once, and ten at thirty a minute.
    assert!(start.elapsed() >= 19 * SECOND, "{:?}", start.elapsed());
}
