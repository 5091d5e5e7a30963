//! Clients that return and get what they have missed.

mod failures;
mod log;
mod resume;

use serde_json::{Value, json};

use crate::support::{Edge, Laravel, Socket};

/// Joins a ticket with a position of an earlier session; returns the payload of the response.
pub(crate) async fn rejoin(socket: &mut Socket, ticket: u64, since: &Value) -> Value {
    let payload = json!({ "ticket_id": ticket, "since": since });
    socket
        .send(json!({ "type": "join_ticket", "payload": payload }))
        .await;
    socket.until("ticket_joined").await["payload"].take()
}

fn event(ticket: u64, number: u64) -> String {
    json!({ "type": "new_message", "payload": { "ticket_id": ticket, "n": number } }).to_string()
}

const ON: &str = "[history]\ndirectory = \"\"\n";

#[tokio::test]
async fn client_that_returns_gets_the_missed_events_with_their_positions() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let joined = rejoin(&mut socket, 1, &Value::Null).await;
    assert!(joined.get("recovered").is_none(), "{joined}");
    let report = edge.broadcast(&event(1, 1)).await;
    assert_eq!(
        (&report["sessions"], &report["stored"]),
        (&json!(1), &json!(false))
    );
    let first = socket.until("new_message").await;
    assert_eq!(first["position"], report["position"]);
    drop(socket);

    edge.broadcast(&event(1, 2)).await;
    edge.broadcast(&event(2, 3)).await;
    edge.broadcast(&event(1, 4)).await;
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let joined = rejoin(&mut socket, 1, &first["position"]).await;
    assert_eq!(
        (&joined["recovered"], &joined["missed"]),
        (&json!(true), &json!(2))
    );
    let live = edge.broadcast(&event(1, 5)).await;
    let numbers = [2, 4, 5].map(|number| json!(number));
    for number in &numbers {
        assert_eq!(&socket.until("new_message").await["payload"]["n"], number);
    }
    assert_eq!(socket.settle().await, [] as [Value; 0]);

    let joined = rejoin(
        &mut Socket::greeted(&edge, "5|desk").await,
        1,
        &live["position"],
    )
    .await;
    assert_eq!(
        (&joined["recovered"], &joined["missed"]),
        (&json!(true), &json!(0))
    );
}

#[tokio::test]
async fn position_that_cannot_be_used_joins_all_the_same() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    for (since, reason) in [
        (json!("abc"), "invalid"),
        (json!(7), "invalid"),
        (json!({ "a": [] }), "invalid"),
        (json!("kQzVbTfa.1"), "other_epoch"),
    ] {
        let mut socket = Socket::greeted(&edge, "3|ana").await;
        let joined = rejoin(&mut socket, 1, &since).await;
        assert_eq!(joined["recovered"], json!(false), "{since}");
        assert_eq!(joined["reason"], reason, "{since}");
        edge.broadcast(&event(1, 1)).await;
        socket.until("new_message").await;
    }
    let off = Edge::before(&laravel);
    let joined = rejoin(
        &mut Socket::greeted(&off, "3|ana").await,
        1,
        &json!("kQzVbTfa.1"),
    )
    .await;
    assert_eq!(
        (&joined["recovered"], &joined["reason"]),
        (&json!(false), &json!("disabled"))
    );
    assert!(joined.get("position").is_none(), "{joined}");
}

#[tokio::test]
async fn user_without_the_right_gets_nothing_replayed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let since = rejoin(&mut ana, 1, &Value::Null).await["position"].take();
    edge.broadcast(&event(1, 1)).await;
    let mut ben = Socket::greeted(&edge, "4|ben").await;
    let payload = json!({ "ticket_id": 1, "since": since });
    ben.send(json!({ "type": "join_ticket", "payload": payload }))
        .await;
    let answers = ben.settle().await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["payload"]["code"], "denied");
}

#[tokio::test]
async fn response_names_the_users_who_are_absent() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let _ana = Socket::joined(&edge, "3|ana", 1).await;
    let event = json!({ "type": "a", "payload": { "ticket_id": 1 }, "to": [3, "9", "uuid-7"] });
    let report = edge.broadcast(&event.to_string()).await;
    assert_eq!(report["absent"], json!([9, "uuid-7"]));
    let without = edge.broadcast(&self::event(1, 1)).await;
    assert!(without.get("absent").is_none(), "{without}");
}
