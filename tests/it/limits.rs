//! What one client may take.

use hyper::StatusCode;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::http::{Client, body, get};
use crate::support::{Edge, Laravel, Socket};

#[tokio::test]
async fn requests_over_the_rate_are_told_when_to_come_back() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nrequests_per_second = 1\nrequest_burst = 3\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut client = Client::http2(&edge).await;
    for _ in 0..3 {
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(laravel.requests().len(), 3);
}

#[tokio::test]
async fn connections_beyond_a_clients_share_are_closed_unheard() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nconnections_per_client = 2\n");
    let held = [Client::http1(&edge).await, Client::http1(&edge).await];
    let mut third = TcpStream::connect(edge.address).await.unwrap();
    assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)));
    drop(held);
    // The edge needs a moment to see that they are gone.
    while crate::support::http::connect(&edge, "http/1.1")
        .await
        .is_err()
    {}
}

/// The share is the session's for as long as it lives.
#[tokio::test]
async fn a_session_holds_its_connections_place() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nconnections_per_client = 1\n");
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    assert!(
        crate::support::http::connect(&edge, "http/1.1")
            .await
            .is_err()
    );
    socket.0.close(None).await.unwrap();
    while crate::support::http::connect(&edge, "http/1.1")
        .await
        .is_err()
    {}
}

#[tokio::test]
async fn a_session_that_talks_too_much_is_told_and_closed() {
    let laravel = Laravel::start().await;
    let more =
        "[websocket]\nmessages_per_second = 50\nmessage_burst = 3\nflood_timeout = \"1ms\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    for _ in 0..9 {
        socket.send(json!({ "type": "ping" })).await;
    }
    let told = loop {
        let event = socket.next().await;
        if event["type"] != "pong" {
            break event;
        }
    };
    assert_eq!(told["payload"]["code"], "too_many_messages");
    assert_eq!(socket.closed().await.0, 1008);
}

#[tokio::test]
async fn a_message_over_the_limit_closes_the_session() {
    let laravel = Laravel::start().await;
    let more =
        "[websocket]\nmax_message = \"1 KiB\"\n[websocket.uploads]\nchunk_size = \"1000 B\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.say(&"x".repeat(1025)).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn a_session_is_in_so_many_rooms_and_no_more() {
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

/// Each may hold a connection to Laravel for as long as its client likes.
#[tokio::test]
async fn one_client_cannot_hold_all_of_laravel() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nrequests_in_flight_per_client = 1\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut holding = Client::http2(&edge).await;
    let mut client = Client::http2(&edge).await;
    let held = holding.send(get("/hang").body(body("")).unwrap());
    let refused = async {
        while laravel.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        client.fetch(get("/").body(body("")).unwrap()).await
    };
    tokio::select! {
        answer = held => panic!("{answer:?}"),
        refused = refused => assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS),
    }
    drop(holding);
    laravel.cancelled().await;
    while client.fetch(get("/").body(body("")).unwrap()).await.status != StatusCode::OK {}
}
