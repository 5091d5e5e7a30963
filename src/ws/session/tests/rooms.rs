//! Tests of the events from rooms that a session is in, and from those that it left.

use serde_json::json;

use super::*;

#[tokio::test(start_paused = true)]
async fn published_event_reaches_the_tabs_of_its_room_only() {
    let edge = Edge::new();
    let mut here = [edge.open_in(7, 3).await, edge.open_in(7, 3).await];
    let mut elsewhere = edge.open_in(8, 3).await;
    edge.publish(7, "a");
    edge.publish(7, "b");
    settled().await;
    for tab in &mut here {
        assert_eq!(tab.arrived(), ["a", "b"]);
    }
    assert_eq!(elsewhere.arrived(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn lost_tab_leaves_after_the_grace_and_leaving_tab_at_once() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut ana = edge.open_in(7, 3).await;
    ana.say("leave_ticket", json!({"ticket_id": 7})).await;
    settled().await;
    assert_eq!(ben.arrived(), ["user_joined", "user_left"]);
    ana.join(7).await;
    ana.lose().await;
    tokio::time::sleep(8 * SECOND - MS).await;
    assert_eq!(ben.arrived(), ["user_joined"]);
    tokio::time::sleep(MS).await;
    settled().await;
    assert_eq!(ben.arrived(), ["user_left"]);
}

#[tokio::test(start_paused = true)]
async fn page_reload_causes_no_presence_events() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    edge.open_in(7, 3).await.lose().await;
    tokio::time::sleep(5 * SECOND).await;
    let _ana = edge.open_in(7, 3).await;
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(ben.arrived(), ["user_joined"]);
}

/// The order of simultaneous events is random, so this is tried often.
#[tokio::test(start_paused = true)]
async fn queued_event_of_a_left_room_is_not_sent() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    for _ in 0..ROUNDS {
        ana.join(7).await;
        edge.publish(7, "before");
        ana.say("leave_ticket", json!({"ticket_id": 7})).await;
        ana.say("ping", json!({})).await;
        tokio::time::sleep(SECOND).await;
        let arrived = ana.arrived();
        assert_eq!(arrived.last().unwrap(), "pong", "{arrived:?}");
    }
}

/// Such an event is outdated: a user who has come back since would be gone again.
#[tokio::test(start_paused = true)]
async fn queued_event_from_before_a_rejoin_is_not_sent() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    for _ in 0..ROUNDS {
        ana.join(7).await;
        edge.publish(7, "before");
        ana.say("leave_ticket", json!({"ticket_id": 7})).await;
        ana.say("join_ticket", json!({"ticket_id": 7})).await;
        tokio::time::sleep(SECOND).await;
        let arrived = ana.arrived();
        assert_eq!(arrived.last().unwrap(), "ticket_joined", "{arrived:?}");
        ana.say("leave_ticket", json!({"ticket_id": 7})).await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_frame_of_the_client_is_echoed() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    ana.send(Message::Close(None)).await;
    assert!(matches!(ana.frame().await, Message::Close(_)));
    ana.gone().await;
    assert_eq!(edge.sessions(), 0);
}

const ROUNDS: usize = 1000;
