//! Clients that return to an edge that runs: what they get, and what they do not.

use std::time::Duration;

use futures_util::StreamExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use super::log::{greeted, home, start};
use super::{ON, event, rejoin};
use crate::support::http::{Client, body, post};
use crate::support::laravel::CROWDED;
use crate::support::{Edge, Laravel, Socket};

/// The numbers of the events that have come.
async fn numbers(socket: &mut Socket) -> Vec<u64> {
    let events = socket.settle().await.into_iter();
    let numbers = events.map(|event| event["payload"]["n"].as_u64().unwrap());
    numbers.collect()
}

/// Opens a session and joins a ticket; returns its payload, and the position in it.
async fn joined(edge: &Edge, token: &str, ticket: u64) -> (Socket, Value) {
    let mut socket = Socket::greeted(edge, token).await;
    let position = rejoin(&mut socket, ticket, &Value::Null).await["position"].take();
    (socket, position)
}

/// Returns with `since`; expects that nothing is missing, and returns the missed numbers.
async fn recovered(edge: &Edge, token: &str, ticket: u64, since: &Value) -> (Socket, Vec<u64>) {
    let mut socket = Socket::greeted(edge, token).await;
    let joined = rejoin(&mut socket, ticket, since).await;
    assert_eq!(joined["recovered"], json!(true), "{joined}");
    let numbers = numbers(&mut socket).await;
    assert_eq!(joined["missed"], json!(numbers.len()));
    (socket, numbers)
}

/// Returns with `since`; expects that the edge cannot tell what is missing, and returns the
/// reason and the new position.
async fn incomplete(edge: &Edge, token: &str, ticket: u64, since: &Value) -> (Socket, Value) {
    let mut socket = Socket::greeted(edge, token).await;
    let joined = rejoin(&mut socket, ticket, since).await;
    assert_eq!(joined["recovered"], json!(false), "{joined}");
    assert_eq!(numbers(&mut socket).await, [] as [u64; 0]);
    (socket, joined)
}

/// The network resets the connection; no close frame comes.
#[tokio::test]
async fn client_whose_connection_is_reset_gets_exactly_what_it_missed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let (mut socket, _) = joined(&edge, "3|ana", 1).await;
    edge.broadcast(&event(1, 1)).await;
    let since = socket.until("new_message").await["position"].take();
    let questions = laravel.requests().len();
    let tcp = SockRef::from(socket.0.get_ref().get_ref().0);
    tcp.set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    while edge.broadcast(&event(1, 2)).await["sessions"] != 0 {}
    edge.broadcast(&event(1, 3)).await;
    assert_eq!(laravel.requests().len(), questions, "Laravel hears nothing");
    let (_, missed) = recovered(&edge, "3|ana", 1, &since).await;
    assert!(missed.ends_with(&[2, 3]), "{missed:?}");
    assert!(missed[..missed.len() - 1].iter().all(|number| *number == 2));
}

/// The edge still takes the old connection for open.
#[tokio::test]
async fn client_that_returns_before_its_cut_is_noticed_gets_exactly_what_it_missed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let (mut lost, _) = joined(&edge, "3|ana", 1).await;
    edge.broadcast(&event(1, 1)).await;
    let since = lost.until("new_message").await["position"].take();
    // What the edge sends there does not arrive.
    assert_eq!(edge.broadcast(&event(1, 2)).await["sessions"], 1);
    for _ in 0..3 {
        let (mut socket, missed) = recovered(&edge, "3|ana", 1, &since).await;
        assert_eq!(missed, [2]);
        assert_eq!(socket.settle().await, [] as [Value; 0]);
    }
}

#[tokio::test]
async fn two_tabs_that_return_get_what_each_of_them_missed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let (mut first, _) = joined(&edge, "3|ana", 1).await;
    let (mut second, _) = joined(&edge, "3|ana", 1).await;
    edge.broadcast(&event(1, 1)).await;
    let first_since = first.until("new_message").await["position"].take();
    drop(first);
    edge.broadcast(&event(1, 2)).await;
    second.until("new_message").await;
    let second_since = second.until("new_message").await["position"].take();
    drop(second);
    edge.broadcast(&event(1, 3)).await;
    let (_first, missed) = recovered(&edge, "3|ana", 1, &first_since).await;
    assert_eq!(missed, [2, 3]);
    let (_second, missed) = recovered(&edge, "3|ana", 1, &second_since).await;
    assert_eq!(missed, [3]);
}

/// By the number of events, by the memory, and by their age.
#[tokio::test]
async fn client_whose_events_are_no_longer_kept_hears_too_old_and_continues() {
    let laravel = Laravel::start().await;
    for bound in [
        "max_events_per_room = 3",
        "max_memory = \"2 KiB\"",
        "max_age = \"1s\"",
    ] {
        let edge = Edge::configured(&laravel.url(), &format!("{ON}{bound}\n"));
        let (_, since) = joined(&edge, "3|ana", 1).await;
        for number in 1..=10 {
            edge.broadcast(&event(1, number)).await;
        }
        if bound.starts_with("max_age") {
            wait_until_dropped(&edge, 10).await;
        }
        let (mut socket, joined) = incomplete(&edge, "3|ana", 1, &since).await;
        assert_eq!(joined["reason"], "too_old", "{bound}");
        edge.broadcast(&event(1, 11)).await;
        assert_eq!(numbers(&mut socket).await, [11], "{bound}");
        drop(socket);
        // On a slow machine that event may be over its age by now.
        if !bound.starts_with("max_age") {
            let (_, missed) = recovered(&edge, "3|ana", 1, &joined["position"]).await;
            assert_eq!(missed, [11], "{bound}");
        }
    }
}

/// Publishes elsewhere until the first `events` events are over their age.
async fn wait_until_dropped(edge: &Edge, events: u64) {
    for published in events.. {
        let status = edge.get("/status").await.json();
        if status["history"]["events"].as_u64().unwrap() + events <= published {
            return;
        }
        edge.broadcast(&event(2, 0)).await;
    }
}

/// Nothing has happened in the room, but the edge no longer knows that.
#[tokio::test]
async fn client_of_a_quiet_room_hears_recovered_only_while_the_edge_knows() {
    let laravel = Laravel::start().await;
    // Nothing is kept, not even for a moment.
    let edge = Edge::configured(&laravel.url(), &format!("{ON}max_memory = \"1 B\"\n"));
    edge.broadcast(&event(2, 1)).await;
    let (socket, since) = joined(&edge, "3|ana", 1).await;
    drop(socket);
    let (_, missed) = recovered(&edge, "3|ana", 1, &since).await;
    assert_eq!(missed, [] as [u64; 0]);
    // It knows the newest event of a room for a while after it has dropped the room, and of so
    // many rooms.
    for ticket in 2..=5000 {
        edge.broadcast(&event(ticket, 2)).await;
    }
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let joined = rejoin(&mut socket, 1, &since).await;
    assert_eq!(joined["recovered"], json!(false));
    assert_eq!(joined["reason"], "too_old");
}

const SMALL_QUEUE: &str = "[websocket]\nmax_queued_events = 40\nmax_queued_size = \"8 MiB\"\n";

#[tokio::test]
async fn client_that_missed_more_than_half_a_queue_hears_too_much_and_stays() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &format!("{ON}{SMALL_QUEUE}"));
    let (socket, since) = joined(&edge, "3|ana", 1).await;
    drop(socket);
    for number in 1..=21 {
        edge.broadcast(&event(1, number)).await;
    }
    let (mut socket, joined) = incomplete(&edge, "3|ana", 1, &since).await;
    assert_eq!(joined["reason"], "too_much");
    for number in 22..=41 {
        edge.broadcast(&event(1, number)).await;
    }
    assert_eq!(numbers(&mut socket).await, Vec::from_iter(22..=41));
    drop(socket);
    let (_socket, missed) = recovered(&edge, "3|ana", 1, &joined["position"]).await;
    assert_eq!(missed, Vec::from_iter(22..=41));
    let status = edge.get("/status").await.json();
    assert_eq!(status["sessions_closed"]["slow"].as_u64().unwrap_or(0), 0);
}

/// A client in several rooms, of which each holds less than half of a queue.
#[tokio::test]
async fn slow_client_that_was_closed_with_4008_gets_all_events_when_it_returns() {
    const ROOMS: u64 = 10;
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &format!("{ON}{SMALL_QUEUE}"));
    let user = format!("{CROWDED}|crowd{CROWDED}");
    let mut socket = Socket::greeted(&edge, &user).await;
    let mut since = Vec::new();
    for room in 0..ROOMS {
        since.push(rejoin(&mut socket, CROWDED + room, &Value::Null).await["position"].take());
    }
    // It reads nothing until it is closed.
    let mut published = 0;
    let text = "x".repeat(60_000);
    while edge.get("/status").await.json()["sessions_closed"]["slow"] != 1 {
        let payload =
            json!({ "ticket_id": CROWDED + published % ROOMS, "n": published, "text": text });
        let event = json!({ "type": "new_message", "payload": payload });
        edge.broadcast(&event.to_string()).await;
        published += 1;
    }
    let mut got = vec![Vec::new(); ROOMS as usize];
    let mut take = |mut event: Value, since: &mut [Value]| {
        let number = event["payload"]["n"].as_u64().unwrap();
        let room = (number % ROOMS) as usize;
        got[room].push(number);
        since[room] = event["position"].take();
    };
    // The rest of what the network holds; the last frame may be incomplete.
    while let Some(Ok(message)) = socket.0.next().await {
        if let Message::Text(text) = message {
            take(serde_json::from_str(&text).unwrap(), &mut since);
        }
    }
    let mut socket = Socket::greeted(&edge, &user).await;
    for room in 0..ROOMS {
        let joined = rejoin(&mut socket, CROWDED + room, &since[room as usize]).await;
        assert_eq!(joined["recovered"], json!(true), "{joined}");
        for _ in 0..joined["missed"].as_u64().unwrap() {
            take(socket.until("new_message").await, &mut since);
        }
    }
    for (room, got) in (0..ROOMS).zip(got) {
        let expected = (room..published).step_by(ROOMS as usize);
        assert_eq!(got, Vec::from_iter(expected), "room {room}");
    }
}

/// Laravel tells the edge that rights have changed; or the edge has restarted since.
#[tokio::test]
async fn client_whose_right_was_withdrawn_meanwhile_gets_nothing_replayed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let (socket, since) = joined(&edge, "3|ana", 1).await;
    drop(socket);
    edge.broadcast(&event(1, 1)).await;
    laravel.withdraw(3, 1);
    let answer = edge.post("/users/3/revalidate", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    expect_denied(&mut Socket::greeted(&edge, "3|ana").await, 1, &since).await;

    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut desk = Socket::over(program.connect("http/1.1").await, "5|desk").await;
    let since = rejoin(&mut desk, 2, &Value::Null).await["position"].take();
    program.publish(2, json!({ "n": 1 })).await;
    program.kill();
    laravel.withdraw(5, 2);
    let program = start(&home);
    let stream = program.connect("http/1.1").await;
    expect_denied(&mut Socket::over(stream, "5|desk").await, 2, &since).await;
}

async fn expect_denied(socket: &mut Socket, ticket: u64, since: &Value) {
    let payload = json!({ "ticket_id": ticket, "since": since });
    socket
        .send(json!({ "type": "join_ticket", "payload": payload }))
        .await;
    let events = socket.settle().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["payload"]["code"], "denied");
}

/// In another tab while the edge still takes the connection for open, or after its end; and
/// while the edge was down.
#[tokio::test]
async fn client_that_was_logged_out_meanwhile_gets_nothing_replayed() {
    let laravel = Laravel::start().await;
    laravel.add_token("other", 3);
    let edge = Edge::configured(&laravel.url(), ON);
    let (mut half_open, _) = joined(&edge, "3|ana", 1).await;
    let (gone, _) = joined(&edge, "3|other", 1).await;
    drop(gone);
    for token in ["3|ana", "3|other"] {
        log_out(&edge, token).await;
    }
    edge.broadcast(&event(1, 1)).await;
    assert_eq!(events_until_closed(&mut half_open).await, (vec![], 4503));
    for token in ["3|ana", "3|other"] {
        let mut socket = Socket::open(&edge, token).await;
        assert_eq!(events_until_closed(&mut socket).await, (vec![], 4502));
    }

    let home = home(&laravel, "");
    laravel.add_token("ana", 3);
    let mut program = start(&home);
    rejoin(&mut greeted(&program).await, 1, &Value::Null).await;
    program.kill();
    laravel.revoke("3|ana");
    let program = start(&home);
    let stream = program.connect("http/1.1").await;
    let opened = client_async("wss://localhost/ws?token=3%7Cana", stream).await;
    let mut socket = Socket(opened.unwrap().0);
    assert_eq!(events_until_closed(&mut socket).await, (vec![], 4502));
}

async fn log_out(edge: &Edge, token: &str) {
    let request = post("/api/logout")
        .header("accept", "application/json")
        .header("authorization", format!("Bearer {token}"));
    let mut client = Client::http1(edge).await;
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

/// Returns the broadcasts that come, and the close code.
async fn events_until_closed(socket: &mut Socket) -> (Vec<Value>, u16) {
    let mut events = Vec::new();
    loop {
        match socket.0.next().await.unwrap().unwrap() {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                events.extend(Some(event).filter(|event| event["type"] == "new_message"));
            }
            Message::Close(Some(frame)) => return (events, frame.code.into()),
            _ => {}
        }
    }
}
