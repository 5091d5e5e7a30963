//! Tests of the events from rooms that a session is in, and from those that it left.

use serde_json::json;

use super::*;

#[tokio::test(start_paused = true)]
async fn every_tab_of_a_room_receives_and_no_other() {
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
async fn a_tab_that_is_lost_leaves_after_the_grace_and_one_that_leaves_at_once() {
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
async fn a_reload_is_not_noticed() {
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
async fn what_waits_from_a_room_that_was_left_is_not_sent() {
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
async fn what_waits_from_before_a_return_is_not_sent_after_it() {
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
async fn who_says_good_bye_is_answered() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    ana.send(Message::Close(None)).await;
    assert!(matches!(ana.frame().await, Message::Close(_)));
    ana.gone().await;
    assert_eq!(edge.sessions(), 0);
}

const ROUNDS: usize = 1000;
