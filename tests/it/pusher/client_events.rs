//! Events that clients publish to each other.

use serde_json::{Value, json};

use super::edge;
use crate::support::pusher::PusherSocket;

const ANA: &str = r#"{"user_id":42,"user_info":{"name":"Ana"}}"#;
const BEN: &str = r#"{"user_id":7}"#;

async fn whisper(socket: &mut PusherSocket, channel: &str) {
    // The user is forged.
    let event = json!({
        "event": "client-typing", "channel": channel, "data": { "n": 1 }, "user_id": "7",
    });
    socket.socket.send(event).await;
}

#[tokio::test]
async fn client_event_reaches_the_other_members_only() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    let mut outside = PusherSocket::open(&edge).await;
    for socket in [&mut ana, &mut ben] {
        socket.subscribe("private-a").await;
    }
    outside.subscribe("private-b").await;
    whisper(&mut ana, "private-a").await;
    assert_eq!(
        ben.socket.next().await,
        json!({ "event": "client-typing", "channel": "private-a", "data": { "n": 1 } })
    );
    for socket in [&mut ana, &mut outside] {
        assert_eq!(socket.settle().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn client_event_has_the_user_that_laravel_has_signed() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    ben.enter("presence-a", BEN).await;
    ana.enter("presence-a", ANA).await;
    ben.settle().await;
    whisper(&mut ana, "presence-a").await;
    assert_eq!(ben.socket.next().await["user_id"], 42);
}

#[tokio::test]
async fn client_event_of_no_member_is_rejected() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    for channel in ["news", "private-a"] {
        ben.subscribe(channel).await;
    }
    ana.subscribe("news").await;
    for channel in ["news", "private-a", "no name", "ticket/1"] {
        whisper(&mut ana, channel).await;
        let error = ana.socket.next().await;
        assert_eq!(error["event"], "pusher:error", "{channel}");
        assert_eq!(error["data"]["code"], 4301);
    }
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn client_events_over_the_rate_are_dropped_and_reported() {
    let (edge, _held) = edge("client_events_per_second = 1\n").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    for socket in [&mut ana, &mut ben] {
        socket.subscribe("private-a").await;
    }
    for _ in 0..20 {
        whisper(&mut ana, "private-a").await;
    }
    let errors = ana.settle().await;
    assert!(!errors.is_empty());
    assert!(errors.iter().all(|error| error["data"]["code"] == 4301));
    assert_eq!(ben.settle().await.len() + errors.len(), 20);
}

#[tokio::test]
async fn client_events_can_be_switched_off() {
    let (edge, _held) = edge("client_events = false\n").await;
    let mut ana = PusherSocket::open(&edge).await;
    ana.subscribe("private-a").await;
    whisper(&mut ana, "private-a").await;
    assert_eq!(ana.socket.next().await["data"]["code"], 4301);
}
