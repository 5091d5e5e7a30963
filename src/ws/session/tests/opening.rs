//! Tests of the start of sessions: which are established, and how others are rejected.

use super::*;

#[tokio::test(start_paused = true)]
async fn connection_event_names_the_user_and_session() {
    let edge = Edge::new();
    let mut ana = edge.knock(Some("3|secret3")).await;
    let event = ana.event().await;
    assert_eq!(event["type"], "connection");
    let payload = &event["payload"];
    assert_eq!(payload["status"], "connected");
    assert_eq!(payload["user_id"], 3);
    let session: SessionId = payload["session_id"].as_str().unwrap().parse().unwrap();
    let mut other = edge.knock(Some("3|secret3")).await;
    let other = other.event().await["payload"]["session_id"].clone();
    assert_ne!(session.to_string(), other);
    assert_eq!(edge.sessions(), 2);
}

#[tokio::test(start_paused = true)]
async fn tabs_of_one_token_share_one_user_query() {
    let edge = Edge::new();
    let _tabs = [edge.open(3).await, edge.open(3).await];
    assert_eq!(edge.laravel.take_asked(), ["GET /api/user 3"]);
}

#[tokio::test(start_paused = true)]
async fn session_without_a_token_is_closed_with_4501() {
    let edge = Edge::new();
    let mut client = edge.knock(None).await;
    assert_eq!(client.error().await, "no_token");
    assert_eq!(client.closed().await, Closed(4501));
    assert_eq!(edge.laravel.take_asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn session_with_a_rejected_token_is_closed_with_4502() {
    let edge = Edge::new();
    let mut client = edge.knock(Some("3|guessed")).await;
    assert_eq!(client.error().await, "authentication_failed");
    assert_eq!(client.closed().await, Closed(4502));
    assert_eq!(edge.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn session_while_laravel_is_down_is_closed_with_1013() {
    let edge = Edge::new();
    edge.laravel.change(|app| app.down = true);
    let start = Instant::now();
    let mut client = edge.knock(Some("3|secret3")).await;
    assert_eq!(client.error().await, "unavailable");
    assert_eq!(client.closed().await, Closed(1013));
    let waited = start.elapsed();
    assert!((4 * SECOND..=5 * SECOND).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn short_outage_only_delays_the_connection_event() {
    let edge = Edge::new();
    edge.laravel.change(|app| app.down = true);
    let mut client = edge.knock(Some("3|secret3")).await;
    tokio::time::sleep(3 * SECOND).await;
    edge.laravel.change(|app| app.down = false);
    assert_eq!(client.event().await["type"], "connection");
}

#[tokio::test(start_paused = true)]
async fn session_opened_during_shutdown_is_closed_with_1012() {
    let edge = Edge::new();
    edge.laravel.change(|app| app.down = true);
    let mut client = edge.knock(Some("3|secret3")).await;
    settled().await;
    edge.services.drain.token().cancel();
    assert_eq!(client.error().await, "restart");
    assert_eq!(client.closed().await, Closed(1012));
}
