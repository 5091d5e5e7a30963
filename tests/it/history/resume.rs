//! Clients that return to many tickets with one message.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{ON, event};
use crate::support::laravel::CROWDED;
use crate::support::{Edge, Laravel, Socket};

/// What a client has got about one ticket.
#[derive(Default)]
struct Ticket {
    /// The payload of `ticket_joined` or of the error.
    response: Value,
    events: Vec<Value>,
}

/// Sends `resume` with these members. Reads a response for each of them, and the missed events.
async fn resume(socket: &mut Socket, tickets: Map<String, Value>) -> HashMap<u64, Ticket> {
    let mut left = tickets.len();
    let payload = json!({ "tickets": tickets });
    socket
        .send(json!({ "type": "resume", "payload": payload }))
        .await;
    let mut got: HashMap<u64, Ticket> = HashMap::new();
    while left > 0 {
        let mut event = socket.next().await;
        let payload = event["payload"].take();
        let ticket = got
            .entry(payload["ticket_id"].as_u64().unwrap())
            .or_default();
        left -= 1;
        if event["type"] == "new_message" {
            assert!(!ticket.response.is_null(), "an event before the response");
            ticket.events.push(payload["n"].clone());
        } else {
            assert!(ticket.response.is_null(), "a second response: {payload}");
            left += payload["missed"].as_u64().unwrap_or(0) as usize;
            ticket.response = payload;
        }
    }
    assert_eq!(socket.settle().await, [] as [Value; 0]);
    got
}

/// The default number of rooms, at the default rates.
#[tokio::test]
async fn hundred_tickets_are_resumed_with_one_message() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let tickets = CROWDED..CROWDED + 100;
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let all = tickets.clone().map(|id| (id.to_string(), Value::Null));
    let joined = resume(&mut socket, all.collect()).await;
    drop(socket);
    for number in 0..3 {
        for ticket in tickets.clone().step_by(7) {
            edge.broadcast(&event(ticket, number)).await;
        }
    }
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let all = joined.iter().map(|(id, ticket)| {
        let position = ticket.response["position"].clone();
        (id.to_string(), position)
    });
    let back = resume(&mut socket, all.collect()).await;
    assert_eq!(back.len(), 100);
    for (id, ticket) in back {
        let missed = if (id - CROWDED).is_multiple_of(7) {
            3
        } else {
            0
        };
        let expected: Vec<_> = (0..missed).map(|number| json!(number)).collect();
        assert_eq!(ticket.response["recovered"], json!(true), "{id}");
        assert_eq!(ticket.response["missed"], json!(expected.len()), "{id}");
        assert_eq!(ticket.events, expected, "{id}");
    }
}

#[tokio::test]
async fn each_ticket_of_a_resume_has_the_response_of_a_join() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let tickets = json!({
        "1": "kQzVbTfa.1", "2": null, "1001": null, "1002": 7, "1003": "kQzVbTfa.01",
    });
    let got = resume(&mut socket, tickets.as_object().unwrap().clone()).await;
    let response = |id: u64, key: &str| got[&id].response[key].clone();
    assert_eq!(response(1, "reason"), "other_epoch");
    assert_eq!(response(2, "code"), "denied");
    assert!(response(1001, "position").is_string());
    assert_eq!(response(1001, "recovered"), Value::Null);
    for id in [1002, 1003] {
        assert_eq!(response(id, "recovered"), json!(false));
        assert_eq!(response(id, "reason"), "invalid");
        let live = edge.broadcast(&event(id, 1)).await;
        let event = socket.until("new_message").await;
        assert_eq!(event["position"], live["position"]);
    }
}

/// The connection may break again at once: what was missed comes with the next one.
#[tokio::test]
async fn client_lost_before_the_missed_events_gets_them_later() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let one = |since: Value| Map::from_iter([("1".to_owned(), since)]);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let mut since = resume(&mut socket, one(Value::Null)).await[&1].response["position"].clone();
    drop(socket);
    edge.broadcast(&event(1, 1)).await;
    for _ in 0..3 {
        let mut socket = Socket::greeted(&edge, "3|ana").await;
        let joined = resume(&mut socket, one(since)).await;
        assert_eq!(joined[&1].events, [json!(1)]);
        // The client has read no further than the response.
        since = joined[&1].response["position"].clone();
    }
}
