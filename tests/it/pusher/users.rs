//! The user of a Pusher client, whom the signature of the user's own channel names.

use serde_json::{Value, json};

use super::{edge, event};
use crate::support::pusher::PusherSocket;

const USER_CHANNEL: &str = "[auth]\nuser_channel = \"private-App.Models.User.{id}\"\n";
const ANAS: &str = "private-App.Models.User.3";

/// Laravel must reach a client that has no presence channel, too.
#[tokio::test]
async fn client_in_the_users_own_channel_is_found_as_this_user() {
    for (request, code) in [("disconnect", 4009), ("revalidate", 4100)] {
        let (edge, _held) = edge(USER_CHANNEL).await;
        let mut ana = PusherSocket::open(&edge).await;
        let mut ben = PusherSocket::open(&edge).await;
        ana.subscribe("private-orders.7").await;
        ana.subscribe(ANAS).await;
        ben.subscribe("private-App.Models.User.33").await;
        let response = edge.post(&format!("/users/3/{request}"), "").await;
        assert_eq!(response.json(), json!({ "sessions": 1 }), "{request}");
        assert_eq!(ana.socket.closed().await.0, code);
        assert_eq!(ben.settle().await, [] as [Value; 0]);
    }
}

/// A client can ask for any channel. Only Laravel's signature says whose it is.
#[tokio::test]
async fn own_channel_without_a_signature_names_no_user() {
    let (edge, _held) = edge(USER_CHANNEL).await;
    let mut ben = PusherSocket::open(&edge).await;
    let forged = json!({ "channel": ANAS, "auth": ben.auth("private-a", None) });
    let response = ben.subscribe_with(forged).await;
    assert_eq!(response["event"], "pusher:subscription_error");
    let response = edge.post("/users/3/disconnect", "").await;
    assert_eq!(response.json(), json!({ "sessions": 0 }));
    edge.broadcast(&event(ANAS, "{}")).await;
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

/// A client can name any socket in `X-Socket-ID`: only its own user may leave it out.
#[tokio::test]
async fn client_of_another_user_than_except_user_gets_the_event() {
    let (edge, _held) = edge(USER_CHANNEL).await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut unnamed = PusherSocket::open(&edge).await;
    ana.enter("presence-a", r#"{"user_id":42}"#).await;
    ana.subscribe("news").await;
    ana.subscribe(ANAS).await;
    unnamed.subscribe("news").await;
    for channel in ["news", "presence-a"] {
        for (user, reaches_ana) in [(3, false), (42, false), (7, true)] {
            let event = json!({
                "type": "a", "channels": [channel], "payload": {}, "except": ana.id,
                "except_user": user,
            });
            edge.broadcast(&event.to_string()).await;
            let heard = ana.settle().await.len();
            assert_eq!(heard, usize::from(reaches_ana), "{channel} {user}");
        }
    }
    unnamed.settle().await;
    let event = json!({
        "type": "a", "channels": ["news"], "payload": {}, "except": unnamed.id, "except_user": 7,
    });
    edge.broadcast(&event.to_string()).await;
    assert_eq!(unnamed.settle().await, [] as [Value; 0]);
}
