//! Tests of the commands of clients, and of the errors for rejected ones.

use serde_json::json;

use super::*;

#[tokio::test(start_paused = true)]
async fn ping_gets_a_pong_with_the_time() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    ana.say("ping", json!({})).await;
    let event = ana.event().await;
    assert_eq!(event["type"], "pong");
    assert!(event["payload"]["timestamp"].as_u64() > Some(1_700_000_000));
}

#[tokio::test(start_paused = true)]
async fn unreadable_message_is_an_error_and_keeps_the_session() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    ana.send(Message::text("hello")).await;
    assert_eq!(ana.error().await, "invalid_json");
    ana.send(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(ana.error().await, "invalid_chunk");
    ana.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn typing_by_a_non_member_is_rejected() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut ana = edge.open_in(8, 3).await;
    let typing = json!({"ticket_id": 7, "is_typing": true});
    assert_eq!(
        ana.refused("typing_indicator", typing.clone()).await,
        "not_in_room"
    );
    settled().await;
    assert_eq!(ben.arrived(), [""; 0]);
    ana.join(7).await;
    ana.say("typing_indicator", typing).await;
    assert_eq!(ben.event().await["type"], "user_joined");
    let event = ben.event().await;
    let payload = json!({"ticket_id": 7, "user_id": 3, "user_name": "User 3", "is_typing": true});
    assert_eq!(
        event,
        json!({"type": "typing_indicator", "payload": payload})
    );
}

#[tokio::test(start_paused = true)]
async fn message_seen_by_a_non_member_is_rejected() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut ana = edge.open(3).await;
    let seen = json!({"message_id": 14, "ticket_id": 7});
    assert_eq!(ana.refused("message_seen", seen).await, "not_in_room");
    let seen = json!({"message_id": 14});
    assert_eq!(ana.refused("message_seen", seen).await, "not_in_room");
    settled().await;
    assert_eq!(ben.arrived(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn message_seen_without_a_ticket_applies_to_the_one_room() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut ana = edge.open_in(7, 3).await;
    ana.say("message_seen", json!({"message_id": "14"})).await;
    assert_eq!(ben.event().await["type"], "user_joined");
    let payload = json!({"message_id": 14, "status": "seen", "user_id": 3, "ticket_id": 7});
    let event = json!({"type": "message_status_update", "payload": payload});
    assert_eq!(ben.event().await, event);
    settled().await;
    assert_eq!(ana.arrived(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn message_seen_without_a_ticket_in_two_rooms_is_rejected() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    let seen = json!({"message_id": 14});
    assert_eq!(
        ana.refused("message_seen", seen.clone()).await,
        "ticket_id_needed"
    );
    ana.say("leave_ticket", json!({"ticket_id": 8})).await;
    ana.say("message_seen", seen).await;
    settled().await;
    assert_eq!(ben.arrived(), ["user_joined", "message_status_update"]);
}

#[tokio::test(start_paused = true)]
async fn repeated_join_returns_the_users_without_a_new_query() {
    let edge = Edge::new();
    let _ben = edge.open_in(7, 4).await;
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.take_asked();
    ana.say("join_ticket", json!({"ticket_id": "7"})).await;
    let users = json!([
        {"user_id": 3, "user_name": "User 3"},
        {"user_id": 4, "user_name": "User 4"},
    ]);
    let payload = json!({"ticket_id": 7, "users": users});
    assert_eq!(
        ana.event().await,
        json!({"type": "ticket_joined", "payload": payload})
    );
    assert_eq!(edge.laravel.take_asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn denied_join_gets_no_events_and_keeps_the_session() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    edge.laravel.withdraw(3, 7);
    let mut ana = edge.open(3).await;
    let ticket = json!({"ticket_id": 7});
    assert_eq!(ana.refused("join_ticket", ticket).await, "denied");
    assert_eq!(edge.publish(7, "secret").sessions, 1);
    ana.assert_alive().await;
    assert_eq!(ana.arrived(), [""; 0]);
    assert_eq!(ben.event().await["type"], "new_message");
    assert_eq!(ben.arrived(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn join_above_max_rooms_is_rejected() {
    let max_rooms = PositiveCount::new(2);
    let edge = Edge::with(Settings {
        max_rooms,
        ..Settings::default()
    });
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    let ticket = json!({"ticket_id": 9});
    assert_eq!(ana.refused("join_ticket", ticket).await, "too_many_rooms");
    ana.say("leave_ticket", json!({"ticket_id": 7})).await;
    ana.join(9).await;
}

#[tokio::test(start_paused = true)]
async fn pending_join_delays_its_own_messages_but_no_events() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.delay = 2 * SECOND);
    ana.say("join_ticket", json!({"ticket_id": 8})).await;
    ana.say("ping", json!({})).await;
    ana.say("message_seen", json!({"ticket_id": 8, "message_id": 1}))
        .await;
    ana.say("ping", json!({})).await;
    tokio::time::sleep(SECOND).await;
    edge.publish(7, "meanwhile");
    settled().await;
    assert_eq!(ana.arrived(), ["pong", "meanwhile"]);
    tokio::time::sleep(SECOND).await;
    assert_eq!(ana.arrived(), ["ticket_joined", "pong"]);
}
