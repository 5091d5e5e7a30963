//! Limits of WebSocket sessions: their number, rooms, messages and bytes.

use hyper::StatusCode;
use serde_json::json;

use crate::support::program::Program;
use crate::support::{Edge, Laravel, Socket};

#[tokio::test]
async fn session_over_the_message_rate_is_closed_with_1008() {
    let laravel = Laravel::start().await;
    // Over its rate even if a slow machine needs a while for each message.
    let more =
        "[websocket]\nmessages_per_second = 2\nmessage_burst = 3\nthrottle_timeout = \"1ms\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    for _ in 0..30 {
        socket.send(json!({ "type": "ping" })).await;
    }
    let event = loop {
        let event = socket.next().await;
        if event["type"] != "pong" {
            break event;
        }
    };
    assert_eq!(event["payload"]["code"], "too_many_messages");
    assert_eq!(socket.closed().await.0, 1008);
}

/// The edge counts each limit of `dry_run` and logs it once, but does not enforce it.
#[tokio::test]
async fn dry_run_session_limits_are_logged_and_not_enforced() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nexempt = [\"127.0.0.0/8\"]\n\
        dry_run = [\"messages_per_second\", \"bytes_per_second\", \"joins_per_minute\", \
        \"max_rooms\", \"max_sessions_per_user\"]\n\
        [websocket]\nmessages_per_second = 1\nmessage_burst = 1\nmax_rooms = 1\n\
        joins_per_minute = 1\njoin_burst = 1\nmax_sessions_per_user = 1\n\
        max_message_size = \"1 KiB\"\nbytes_per_second = \"1 B\"\nthrottle_timeout = \"1ms\"\n\
        [websocket.uploads]\nchunk_size = \"1000 B\"\n";
    let program = Program::before(&laravel.url(), more);
    let mut desk = Socket::over(program.connect("http/1.1").await, "5|desk").await;
    let mut second = Socket::over(program.connect("http/1.1").await, "5|desk").await;
    for ticket in [1, 2] {
        desk.join(ticket).await;
    }
    for _ in 0..20 {
        desk.send_text(&json!({ "type": "ping", "more": "x".repeat(500) }).to_string())
            .await;
    }
    second.settle().await;
    desk.settle().await;
    let status = program.status().await;
    assert_eq!(status["sessions"], 2);
    for limit in [
        "messages_per_second",
        "bytes_per_second",
        "joins_per_minute",
        "max_rooms",
        "max_sessions_per_user",
    ] {
        assert!(
            status["limits_exceeded"][limit].as_u64() > Some(0),
            "{limit}: {status}"
        );
        let is_reported = |line: &serde_json::Value| {
            line["event"] == "limit_exceeded" && line["limit"] == limit && line["enforced"] == false
        };
        program.logged(is_reported).await;
        assert_eq!(program.count(is_reported), 1, "{limit}");
    }
}

#[tokio::test]
async fn session_with_a_too_long_message_is_closed_with_1009() {
    let laravel = Laravel::start().await;
    let more =
        "[websocket]\nmax_message_size = \"1 KiB\"\n[websocket.uploads]\nchunk_size = \"1000 B\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send_text(&"x".repeat(1025)).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn join_above_max_rooms_is_rejected() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[websocket]\nmax_rooms = 1\n");
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    desk.send(json!({ "type": "join_ticket", "payload": { "ticket_id": 2 } }))
        .await;
    assert_eq!(desk.next().await["payload"]["code"], "too_many_rooms");
    desk.send(json!({ "type": "leave_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    desk.join(2).await;
}

#[tokio::test]
async fn session_above_the_client_limit_gets_429() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nmax_sessions_per_client = 1\n");
    let first = Socket::greeted(&edge, "3|ana").await;
    let path = "/ws?token=3%7Cana";
    let refused = Socket::try_open(&edge, path, &[]).await.err();
    assert_eq!(refused, Some(StatusCode::TOO_MANY_REQUESTS));
    drop(first);
    while Socket::try_open(&edge, path, &[]).await.is_err() {}
}

#[tokio::test]
async fn user_over_the_session_limit_loses_the_oldest_with_4505() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[websocket]\nmax_sessions_per_user = 2\n");
    let mut oldest = Socket::joined(&edge, "3|ana", 1).await;
    let mut second = Socket::joined(&edge, "3|ana", 1).await;
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    let mut third = Socket::joined(&edge, "3|ana", 1).await;
    let event = loop {
        let event = oldest.next().await;
        if event["type"] == "error" {
            break event;
        }
    };
    assert_eq!(event["payload"]["code"], "superseded");
    assert_eq!(oldest.closed().await.0, 4505);
    for socket in [&mut second, &mut desk, &mut third] {
        socket.settle().await;
    }
}

#[tokio::test]
async fn session_over_the_join_rate_is_closed_with_1008() {
    let laravel = Laravel::start().await;
    let more = "[websocket]\njoins_per_minute = 60\njoin_burst = 3\nthrottle_timeout = \"1ms\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut desk = Socket::greeted(&edge, "5|desk").await;
    for _ in 0..20 {
        for kind in ["join_ticket", "leave_ticket"] {
            desk.send(json!({ "type": kind, "payload": { "ticket_id": 1 } }))
                .await;
        }
    }
    let event = loop {
        let event = desk.next().await;
        if event["type"] == "error" {
            break event;
        }
    };
    assert_eq!(event["payload"]["code"], "too_many_messages");
    assert_eq!(desk.closed().await.0, 1008);
}

#[tokio::test]
async fn session_over_the_byte_rate_is_closed_with_1008() {
    let laravel = Laravel::start().await;
    let more = "[websocket]\nbytes_per_second = \"1 KiB\"\nmax_message_size = \"1 KiB\"\n\
                throttle_timeout = \"1ms\"\n[websocket.uploads]\nchunk_size = \"1000 B\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    for _ in 0..20 {
        let padded = json!({ "type": "ping", "payload": { "x": "x".repeat(900) } });
        socket.send(padded).await;
    }
    let event = loop {
        let event = socket.next().await;
        if event["payload"]["code"] == "too_many_messages" {
            break event;
        }
    };
    assert_eq!(event["type"], "error");
    assert_eq!(socket.closed().await.0, 1008);
}
