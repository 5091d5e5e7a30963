//! WebSocket sessions through the whole edge.

use futures_util::SinkExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::http::{Client, body};
use crate::support::{Edge, Laravel, Socket};

mod auth;
mod cookies;
mod handshake;
mod logout;

#[tokio::test]
async fn join_in_a_short_outage_is_retried() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let before = laravel.requests().len();
    laravel.fail_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    socket
        .send(json!({ "type": "join_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    while laravel.requests().len() == before {
        tokio::task::yield_now().await;
    }
    laravel.fail_with(None);
    assert_eq!(socket.next().await["type"], "ticket_joined");
}

#[tokio::test]
async fn join_of_a_ticket_not_granted_is_denied() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "4|ben").await;
    for ticket in [1, 999] {
        socket
            .send(json!({ "type": "join_ticket", "payload": { "ticket_id": ticket } }))
            .await;
        let error = socket.next().await;
        assert_eq!(error["payload"]["code"], "denied", "{error}");
        assert_eq!(error["payload"]["ticket_id"], ticket);
    }
    socket
        .send(json!({ "type": "join_ticket", "payload": { "ticket_id": "2" } }))
        .await;
    let joined = socket.next().await;
    let users = json!([{ "user_id": 4, "user_name": "ben" }]);
    let expected =
        json!({ "type": "ticket_joined", "payload": { "ticket_id": 2, "users": users } });
    assert_eq!(joined, expected);
}

#[tokio::test]
async fn malformed_ticket_id_never_reaches_laravel() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let before = laravel.requests().len();
    for id in [
        json!("1abc"),
        json!("01"),
        json!("1;2"),
        json!(" 1"),
        json!("archived"),
        json!(1.0),
        json!([1]),
        json!(0),
        json!(-1),
        Value::Null,
    ] {
        socket
            .send(json!({ "type": "join_ticket", "payload": { "ticket_id": id } }))
            .await;
        assert_eq!(
            socket.next().await["payload"]["code"],
            "invalid_payload",
            "{id}"
        );
    }
    assert_eq!(laravel.requests().len(), before);
}

#[tokio::test]
async fn invalid_message_gets_an_error_and_keeps_the_session() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    assert_eq!(ana.next().await["type"], "user_joined");
    for (text, code) in [
        ("x", "invalid_json"),
        ("\"ping\"", "invalid_json"),
        ("{}", "missing_type"),
        (r#"{"type":["ping"]}"#, "missing_type"),
        (
            r#"{"type":"new_message","payload":{"ticket_id":1,"message":{}}}"#,
            "unknown_type",
        ),
        (
            r#"{"type":"typing_indicator","payload":{"ticket_id":1,"is_typing":{"a":"<b>"}}}"#,
            "invalid_payload",
        ),
        (
            r#"{"type":"typing_indicator","payload":{"ticket_id":2,"is_typing":true}}"#,
            "not_in_room",
        ),
        (
            r#"{"type":"message_seen","payload":{"message_id":"no-such"}}"#,
            "invalid_payload",
        ),
    ] {
        ana.send_text(text).await;
        let error = ana.next().await;
        assert_eq!(
            (&error["type"], &error["payload"]["code"]),
            (&json!("error"), &json!(code)),
            "{text}"
        );
    }
    ana.0.send(Message::binary("{}")).await.unwrap();
    assert_eq!(ana.next().await["payload"]["code"], "invalid_chunk");
    assert_eq!(
        desk.settle().await,
        [] as [Value; 0],
        "something was relayed"
    );
}

#[tokio::test]
async fn ping_gets_a_pong_with_the_time() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(json!({ "type": "ping" })).await;
    let pong = socket.next().await;
    assert_eq!(pong["type"], "pong");
    assert!(pong["payload"]["timestamp"].as_u64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn member_that_left_receives_nothing_more() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::joined(&edge, "3|ana", 1).await;
    socket
        .send(json!({ "type": "leave_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    socket.settle().await;
    let reached = edge
        .broadcast(r#"{"type":"new_message","payload":{"ticket_id":1}}"#)
        .await;
    assert_eq!(reached["sessions"], 0);
    assert_eq!(socket.settle().await, [] as [Value; 0]);
}

async fn fetch(edge: &Edge, request: hyper::http::request::Builder) -> StatusCode {
    let request = request.body(body("")).unwrap();
    Client::http1(edge).await.fetch(request).await.status
}
