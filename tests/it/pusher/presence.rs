//! Presence channels.

use serde_json::{Value, json};

use super::{data, edge};
use crate::support::pusher::PusherSocket;

const ANA: &str = r#"{"user_id":42,"user_info":{"name":"Ana ñ€😀","n":1.10}}"#;
const BEN: &str = r#"{"user_id":"ben","user_info":null}"#;

#[tokio::test]
async fn members_are_listed_and_announced_once_for_each_user() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut tab = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    let alone = ana.enter("presence-a", ANA).await;
    let info = json!({ "name": "Ana ñ€😀", "n": 1.10 });
    assert_eq!(
        alone,
        json!({ "count": 1, "ids": [42], "hash": { "42": info } })
    );
    let both = ben.enter("presence-a", BEN).await;
    assert_eq!(both["count"], 2);
    assert_eq!(both["hash"], json!({ "42": info, "ben": null }));
    let added = ana.socket.next().await;
    assert_eq!(added["event"], "pusher_internal:member_added");
    assert_eq!(added["channel"], "presence-a");
    assert_eq!(data(&added)["user_id"], "ben");
    assert_eq!(tab.enter("presence-a", ANA).await["count"], 2);
    assert_eq!(ben.settle().await, [] as [Value; 0], "a second tab");
    for (socket, expected) in [(&mut ana, 0), (&mut tab, 1)] {
        socket
            .send("pusher:unsubscribe", json!({ "channel": "presence-a" }))
            .await;
        socket.settle().await;
        let heard = ben.settle().await;
        assert_eq!(heard.len(), expected);
        if let [removed] = &*heard {
            assert_eq!(removed["event"], "pusher_internal:member_removed");
            assert_eq!(removed["data"], r#"{"user_id":42}"#);
        }
    }
}

#[tokio::test]
async fn info_of_a_member_arrives_byte_for_byte() {
    let (edge, _held) = edge("").await;
    let mut ben = PusherSocket::open(&edge).await;
    let mut ana = PusherSocket::open(&edge).await;
    ben.enter("presence-a", BEN).await;
    ana.enter("presence-a", ANA).await;
    assert_eq!(ben.socket.next().await["data"], ANA);
}

#[tokio::test]
async fn page_reload_is_not_announced() {
    let (edge, _held) = edge("").await;
    let mut ben = PusherSocket::open(&edge).await;
    ben.enter("presence-a", BEN).await;
    let mut ana = PusherSocket::open(&edge).await;
    ana.enter("presence-a", ANA).await;
    assert_eq!(ben.settle().await.len(), 1);
    drop(ana);
    while edge.get("/status").await.json()["sessions"] == 2 {}
    let mut ana = PusherSocket::open(&edge).await;
    assert_eq!(ana.enter("presence-a", ANA).await["count"], 2);
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn users_of_a_presence_channel_are_limited() {
    let (edge, _held) = edge("max_presence_members = 1\n").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut tab = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    ana.enter("presence-a", ANA).await;
    // The same user is no other member.
    tab.enter("presence-a", ANA).await;
    let subscribe = |socket: &PusherSocket, channel: &str, data: &str| json!({ "channel": channel, "auth": socket.auth(channel, Some(data)), "channel_data": data });
    let response = ben.subscribe_with(subscribe(&ben, "presence-a", BEN)).await;
    assert_eq!(response["event"], "pusher:subscription_error");
    assert_eq!(response["data"]["type"], "LimitReached");
    ben.enter("presence-b", BEN).await;
    let long = format!(r#"{{"user_id":1,"user_info":"{}"}}"#, "x".repeat(2048));
    let response = ben
        .subscribe_with(subscribe(&ben, "presence-c", &long))
        .await;
    assert_eq!(response["data"]["status"], 413);
    for channel in ["presence-a", "presence-c"] {
        let room = edge.get(&format!("/rooms/channel/{channel}")).await.json();
        assert_eq!(
            room["sessions"],
            if channel == "presence-a" { 2 } else { 0 }
        );
    }
}

#[tokio::test]
async fn user_that_is_not_signed_is_rejected() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let signed_for_other_data = ana.auth("presence-a", Some(BEN));
    let without_data = ana.auth("presence-a", None);
    for subscribe in [
        json!({ "channel": "presence-a", "auth": signed_for_other_data, "channel_data": ANA }),
        json!({ "channel": "presence-a", "auth": without_data }),
        json!({ "channel": "presence-a", "auth": without_data, "channel_data": ANA }),
    ] {
        let response = ana.subscribe_with(subscribe).await;
        assert_eq!(response["data"]["type"], "AuthError");
    }
}

/// Each subscription is answered with the list of users, and each arrival told to the others.
#[tokio::test]
async fn subscriptions_over_the_join_rate_are_slowed_down_and_then_closed() {
    for leaves in [false, true] {
        let (edge, _held) = edge(
            "[websocket]\njoins_per_minute = 60\njoin_burst = 2\nthrottle_timeout = \"1ms\"\n",
        )
        .await;
        let mut ben = PusherSocket::open(&edge).await;
        ben.enter("presence-a", BEN).await;
        let mut ana = PusherSocket::open(&edge).await;
        let auth = ana.auth("presence-a", Some(ANA));
        for _ in 0..12 {
            let subscribe = json!({ "channel": "presence-a", "auth": auth, "channel_data": ANA });
            ana.send("pusher:subscribe", subscribe).await;
            if leaves {
                ana.send("pusher:unsubscribe", json!({ "channel": "presence-a" }))
                    .await;
            }
        }
        let mut succeeded = 0;
        loop {
            let event = ana.socket.next().await;
            if event["event"] == "pusher:error" {
                assert_eq!(event["data"]["code"], 4301);
                break;
            }
            assert_eq!(event["event"], "pusher_internal:subscription_succeeded");
            succeeded += 1;
        }
        assert!((2..12).contains(&succeeded), "{succeeded}");
        assert_eq!(ana.socket.closed().await.0, 4100);
        let heard = ben.settle().await;
        let added = |event: &&Value| event["event"] == "pusher_internal:member_added";
        let arrivals = heard.iter().filter(added).count();
        assert_eq!(arrivals, if leaves { succeeded } else { 1 });
    }
}
