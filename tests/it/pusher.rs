//! Clients of the Pusher protocol, such as Laravel Echo.

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::pusher::{PusherSocket, data, section, sign, write_secret};
use crate::support::{Edge, Laravel, Socket};

mod client_events;
mod closes;
mod echo;
mod handshake;
mod presence;
mod users;

/// An edge that speaks the protocol, with more lines in its section or behind it. Also returns
/// what must live as long.
async fn edge(more: &str) -> (Edge, impl Sized) {
    let laravel = Laravel::start().await;
    let (section, directory) = section(more);
    (
        Edge::configured(&laravel.url(), &section),
        (laravel, directory),
    )
}

/// Returns an event of Laravel to a channel, as it sends it.
fn event(channel: &str, payload: &str) -> String {
    format!(r#"{{"type":"App\\Events\\Shipped","channels":["{channel}"],"payload":{payload}}}"#)
}

#[tokio::test]
async fn event_of_a_channel_reaches_its_subscribers_only() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    for channel in ["news", "private-orders.7", "private-encrypted-a"] {
        let succeeded = json!({
            "event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}",
        });
        assert_eq!(ana.subscribe(channel).await, succeeded);
    }
    ben.subscribe("private-orders.8").await;
    for channel in ["news", "private-orders.7", "private-encrypted-a"] {
        let reached = edge.broadcast(&event(channel, r#"{"id":7}"#)).await;
        assert_eq!(reached["sessions"], 1, "{reached}");
        assert_eq!(
            ana.socket.next().await,
            json!({ "event": "App\\Events\\Shipped", "channel": channel, "data": r#"{"id":7}"# })
        );
    }
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn data_arrives_byte_for_byte() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    ana.subscribe("news").await;
    let long = "ñ€😀".repeat(20_000);
    let payload =
        format!(r#"{{ "n": [1.10, 1e2, 12345678901234567890123], "s": "\u00e9\/ é 😀 {long}"}}"#);
    edge.broadcast(&event("news", &payload)).await;
    let received = ana.socket.next().await;
    assert!(received["data"] == payload);
}

#[tokio::test]
async fn wrong_signature_is_rejected_and_the_connection_lives() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let other = PusherSocket::open(&edge).await;
    let good = ana.auth("private-a", None);
    for auth in [
        json!(null),
        json!(""),
        json!("x"),
        json!(other.auth("private-a", None)),
        json!(ana.auth("private-b", None)),
        json!(ana.auth("private-a", Some("{}"))),
        json!(sign("another secret", &format!("{}:private-a", ana.id))),
        json!(good.replacen("edgekey", "otherkey", 1)),
        json!(good[..good.len() - 1]),
    ] {
        let response = ana
            .subscribe_with(json!({ "channel": "private-a", "auth": auth }))
            .await;
        assert_eq!(response["event"], "pusher:subscription_error", "{auth}");
        assert_eq!(response["channel"], "private-a");
        assert_eq!(
            (&response["data"]["type"], &response["data"]["status"]),
            (&json!("AuthError"), &json!(403)),
            "{auth}"
        );
    }
    edge.broadcast(&event("private-a", "{}")).await;
    assert_eq!(ana.settle().await, [] as [Value; 0]);
    let response = ana
        .subscribe_with(json!({ "channel": "private-a", "auth": good }))
        .await;
    assert_eq!(response["event"], "pusher_internal:subscription_succeeded");
}

#[tokio::test]
async fn subscription_may_be_repeated_and_ended_twice() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    for _ in 0..2 {
        let response = ana.subscribe("private-a").await;
        assert_eq!(response["event"], "pusher_internal:subscription_succeeded");
    }
    edge.broadcast(&event("private-a", "{}")).await;
    assert_eq!(ana.settle().await.len(), 1);
    for channel in ["private-a", "private-a", "never", "no name"] {
        ana.send("pusher:unsubscribe", json!({ "channel": channel }))
            .await;
    }
    assert_eq!(ana.settle().await, [] as [Value; 0]);
    let reached = edge.broadcast(&event("private-a", "{}")).await;
    assert_eq!(reached["sessions"], 0);
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

/// Laravel's `toOthers` excludes the socket that the request named in `X-Socket-ID`.
#[tokio::test]
async fn socket_in_except_does_not_get_the_event() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut ben = PusherSocket::open(&edge).await;
    ana.subscribe("private-a").await;
    ben.subscribe("private-a").await;
    let event = json!({
        "type": "a", "channels": ["private-a"], "payload": {}, "except": ana.id, "except_user": 3,
    });
    edge.broadcast(&event.to_string()).await;
    assert_eq!(ben.socket.next().await["event"], "a");
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn message_that_is_not_understood_is_reported_and_the_connection_lives() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    for text in [
        "x",
        "[]",
        "{}",
        r#"{"event":"pusher:dance","data":{}}"#,
        r#"{"event":"pusher:subscribe","data":{}}"#,
    ] {
        ana.socket.send_text(text).await;
        let error = ana.socket.next().await;
        assert_eq!(error["event"], "pusher:error", "{text}");
        assert_eq!(error["data"]["code"], Value::Null);
    }
    ana.socket.0.send(Message::binary("{}")).await.unwrap();
    assert_eq!(ana.socket.next().await["event"], "pusher:error");
    for name in ["", "a b", "a/b", "é", &"a".repeat(201)] {
        let response = ana.subscribe_with(json!({ "channel": name })).await;
        assert_eq!(response["data"]["type"], "InvalidChannel", "{name}");
    }
}

#[tokio::test]
async fn fragmented_message_is_read_as_one() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let parts = [
        (r#"{"event":"pusher:"#, OpCode::Data(Data::Text), false),
        (r#"ping","data"#, OpCode::Data(Data::Continue), false),
        (r#"":{}}"#, OpCode::Data(Data::Continue), true),
    ];
    for (text, code, is_last) in parts {
        let frame = Frame::message(text, code, is_last);
        ana.socket.0.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(ana.socket.next().await["event"], "pusher:pong");
}

#[tokio::test]
async fn channels_of_a_connection_are_limited() {
    let (edge, _held) = edge("[websocket]\nmax_rooms = 2\n").await;
    let mut ana = PusherSocket::open(&edge).await;
    ana.subscribe("private-a").await;
    ana.subscribe("private-b").await;
    let response = ana.subscribe("private-c").await;
    assert_eq!(response["data"]["type"], "LimitReached");
    ana.send("pusher:unsubscribe", json!({ "channel": "private-a" }))
        .await;
    let response = ana.subscribe("private-c").await;
    assert_eq!(response["event"], "pusher_internal:subscription_succeeded");
}

/// A secret that has leaked must not admit anybody after it was replaced.
#[tokio::test]
async fn secret_of_a_reload_is_the_only_one_accepted() {
    let laravel = Laravel::start().await;
    let (section, directory) = section("");
    let edge = Edge::configured(&laravel.url(), &section);
    let mut ana = PusherSocket::open(&edge).await;
    ana.subscribe("private-a").await;
    write_secret(&directory.path().join("secret"), "new");
    edge.reload().await;
    let response = ana.subscribe("private-b").await;
    assert_eq!(response["event"], "pusher:subscription_error");
    let auth = sign("new", &format!("{}:private-b", ana.id));
    let response = ana
        .subscribe_with(json!({ "channel": "private-b", "auth": auth }))
        .await;
    assert_eq!(response["event"], "pusher_internal:subscription_succeeded");
    edge.broadcast(&event("private-a", "{}")).await;
    assert_eq!(ana.socket.next().await["channel"], "private-a");
}

/// A site can move its pages to Echo one after the other.
#[tokio::test]
async fn channel_is_shared_with_clients_of_the_own_protocol() {
    let (edge, _held) = edge("[auth]\nchannel_path = \"/broadcasting/auth\"\n").await;
    let mut desk = Socket::greeted(&edge, "5|desk").await;
    let mut ana = PusherSocket::open(&edge).await;
    ana.subscribe("news").await;
    desk.send(json!({ "type": "join", "payload": { "channel": "news" } }))
        .await;
    desk.until("joined").await;
    let reached = edge.broadcast(&event("news", r#"{"id":7}"#)).await;
    assert_eq!(reached["sessions"], 2);
    assert_eq!(data(&ana.socket.next().await), json!({ "id": 7 }));
    assert_eq!(desk.next().await["payload"], json!({ "id": 7 }));
}

#[tokio::test]
async fn client_over_its_rate_is_slowed_down_and_then_closed_with_4100() {
    let (edge, _held) = edge(
        "[websocket]\nmessages_per_second = 1\nmessage_burst = 2\nthrottle_timeout = \"1ms\"\n",
    )
    .await;
    let mut ana = PusherSocket::open(&edge).await;
    for _ in 0..8 {
        ana.send("pusher:ping", json!({})).await;
    }
    loop {
        let event = ana.socket.next().await;
        if event["event"] == "pusher:error" {
            assert_eq!(event["data"]["code"], 4301);
            break;
        }
        assert_eq!(event["event"], "pusher:pong");
    }
    assert_eq!(ana.socket.closed().await.0, 4100);
}

#[tokio::test]
async fn protocol_is_off_without_a_key() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let path = "/app/edgekey?protocol=7";
    let opened = Socket::try_open(&edge, path, &[]).await;
    assert!(opened.is_err());
    assert_eq!(laravel.last().target, path);
}
