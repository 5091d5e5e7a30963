//! Tests of joins that Laravel does not decide in time: the edge reports it, and completes
//! them by itself.

use serde_json::json;

use super::*;

/// Opens a session of user 3 that has asked for ticket 7 while Laravel is down.
async fn open_with_late_join(edge: &Edge) -> Client {
    let mut ana = edge.open(3).await;
    edge.laravel.change(|app| app.down = true);
    let ticket = json!({"ticket_id": 7});
    assert_eq!(ana.refused("join_ticket", ticket).await, "unavailable");
    ana
}

#[tokio::test(start_paused = true)]
async fn join_while_laravel_is_down_is_reported_after_the_retry_timeout() {
    let edge = Edge::new();
    let start = Instant::now();
    let _ana = open_with_late_join(&edge).await;
    let waited = start.elapsed();
    assert!((4 * SECOND..=5 * SECOND).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn join_reported_unavailable_is_completed_once_laravel_is_back() {
    let edge = Edge::new();
    let mut ana = open_with_late_join(&edge).await;
    // Reported once, however long it takes.
    ana.assert_quiet_for(60 * SECOND).await;
    edge.laravel.change(|app| app.down = false);
    let start = Instant::now();
    assert_eq!(ana.event().await["type"], "ticket_joined");
    assert!(start.elapsed() <= 6 * SECOND, "{:?}", start.elapsed());
    assert_eq!(edge.publish(7, "here").sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn late_join_that_laravel_denies_is_denied() {
    let edge = Edge::new();
    let mut ana = open_with_late_join(&edge).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.down = false);
    assert_eq!(ana.error().await, "denied");
    ana.assert_quiet_for(60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn late_join_holds_no_other_message() {
    let edge = Edge::new();
    let mut ana = open_with_late_join(&edge).await;
    let typing = json!({"ticket_id": 7, "is_typing": true});
    assert_eq!(ana.refused("typing_indicator", typing).await, "not_in_room");
    edge.laravel.change(|app| app.down = false);
    ana.join(8).await;
}

/// As the clients of this project do.
#[tokio::test(start_paused = true)]
async fn join_repeated_during_a_late_join_adds_no_request() {
    let edge = Edge::new();
    let mut ana = open_with_late_join(&edge).await;
    edge.laravel.take_asked();
    for _ in 0..10 {
        ana.say("join_ticket", json!({"ticket_id": 7})).await;
    }
    settled().await;
    assert_eq!(edge.laravel.take_asked(), [""; 0]);
    edge.laravel.change(|app| app.down = false);
    assert_eq!(ana.event().await["type"], "ticket_joined");
    ana.assert_quiet_for(20 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn late_join_is_cancelled_by_leave_ticket() {
    let edge = Edge::new();
    let mut ana = open_with_late_join(&edge).await;
    ana.say("leave_ticket", json!({"ticket_id": 7})).await;
    settled().await;
    edge.laravel.change(|app| app.down = false);
    edge.laravel.take_asked();
    ana.assert_quiet_for(60 * SECOND).await;
    assert_eq!(edge.laravel.take_asked(), [""; 0]);
    ana.join(7).await;
}
