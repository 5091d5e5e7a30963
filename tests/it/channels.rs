//! Channels of Laravel's broadcasting: who joins them, and what their members get.

use serde_json::{Value, json};

use crate::support::{Edge, Laravel, Socket};

mod own;
mod presence;
mod publish;
mod rights;

const CHANNELS: &str = "[auth]\nchannel_path = \"/api/broadcasting/auth\"\n";

/// An edge that asks Laravel about channels. Ana and Desk may join `private-desk`.
async fn start(more: &str) -> (Laravel, Edge) {
    let laravel = Laravel::start().await;
    for user in [3, 5] {
        laravel.open_channel(user, "private-desk");
    }
    let edge = Edge::configured(&laravel.url(), &format!("{CHANNELS}{more}"));
    (laravel, edge)
}

/// Asks to join; returns the response, which may be an error.
async fn join(socket: &mut Socket, channel: &str) -> Value {
    let payload = json!({ "channel": channel });
    socket
        .send(json!({ "type": "join", "payload": payload }))
        .await;
    loop {
        let event = socket.next().await;
        if ["joined", "error"].contains(&event["type"].as_str().unwrap()) {
            return event;
        }
    }
}

/// Connects and joins.
async fn member(edge: &Edge, token: &str, channel: &str) -> Socket {
    let mut socket = Socket::greeted(edge, token).await;
    let joined = join(&mut socket, channel).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    socket
}

async fn leave(socket: &mut Socket, channel: &str) {
    let payload = json!({ "channel": channel });
    socket
        .send(json!({ "type": "leave", "payload": payload }))
        .await;
}

fn event(channels: &[&str], number: u64) -> String {
    json!({ "type": "news", "payload": { "n": number }, "channels": channels }).to_string()
}

#[tokio::test]
async fn member_gets_the_events_of_the_channel_until_it_leaves() {
    let (_laravel, edge) = start("").await;
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    assert_eq!(
        join(&mut ana, "private-desk").await,
        json!({ "type": "joined", "payload": { "channel": "private-desk" } })
    );
    let mut desk = member(&edge, "5|desk", "private-desk").await;
    let mut other = Socket::joined(&edge, "3|ana", 1).await;
    let reached = edge.broadcast(&event(&["private-desk"], 1)).await;
    assert_eq!(reached["sessions"], 2);
    let expected = r#"{"type":"news","payload":{"n":1},"channel":"private-desk"}"#;
    assert_eq!(ana.text().await, expected);
    assert_eq!(desk.text().await, expected);
    leave(&mut ana, "private-desk").await;
    assert_eq!(ana.settle().await, [] as [Value; 0]);
    edge.broadcast(&event(&["private-desk"], 2)).await;
    assert_eq!(desk.next().await["payload"]["n"], 2);
    for socket in [&mut ana, &mut other, &mut desk] {
        assert_eq!(socket.settle().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn member_that_joins_again_is_asked_about_nothing() {
    let (laravel, edge) = start("").await;
    let mut ana = member(&edge, "3|ana", "private-desk").await;
    let asked = laravel.channel_forms().len();
    assert_eq!(join(&mut ana, "private-desk").await["type"], "joined");
    assert_eq!(laravel.channel_forms().len(), asked);
    let reached = edge.broadcast(&event(&["private-desk"], 1)).await;
    assert_eq!(reached["sessions"], 1);
}

#[tokio::test]
async fn client_that_returns_gets_the_missed_events_of_the_channel() {
    let (_laravel, edge) = start("[history]\ndirectory = \"\"\n").await;
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let since = join(&mut ana, "private-desk").await["payload"]["position"].take();
    drop(ana);
    edge.broadcast(&event(&["private-desk", "other"], 1)).await;
    edge.broadcast(&event(&["private-desk"], 2)).await;

    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let payload = json!({ "channel": "private-desk", "since": since });
    ana.send(json!({ "type": "join", "payload": payload }))
        .await;
    assert_eq!(
        ana.until("joined").await["payload"],
        json!({
            "channel": "private-desk",
            "position": since,
            "recovered": true,
            "missed": 2,
        })
    );
    for number in [1, 2] {
        let event = ana.next().await;
        assert_eq!(
            (&event["payload"]["n"], &event["channel"]),
            (&json!(number), &json!("private-desk"))
        );
        assert!(event["position"].is_string(), "{event}");
    }
}

/// The front ends from before channels send no `ticket_id` while one ticket is open.
#[tokio::test]
async fn message_seen_without_a_ticket_does_not_mean_a_channel() {
    let (_laravel, edge) = start("").await;
    let mut ana = member(&edge, "3|ana", "private-desk").await;
    let seen = json!({ "type": "message_seen", "payload": { "message_id": 14 } });
    ana.send(seen.clone()).await;
    assert_eq!(ana.next().await["payload"]["code"], "not_in_room");
    ana.join(1).await;
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    ana.send(seen).await;
    let update = desk.until("message_status_update").await;
    assert_eq!(update["payload"]["ticket_id"], 1);
}
