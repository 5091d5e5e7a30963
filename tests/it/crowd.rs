//! Many sessions, and a Laravel that restarts under them.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::laravel::CROWDED;
use crate::support::{Edge, Laravel, Socket};

const SESSIONS: u64 = 2000;
const ROOMS: u64 = 200;

/// They all come from one address here.
const LIMITS: &str = r#"
[limits]
allow = ["127.0.0.0/8"]
"#;

#[tokio::test]
async fn a_restart_of_laravel_loses_no_session_and_no_event() {
    rlimit::increase_nofile_limit(5 * SESSIONS).unwrap();
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LIMITS);
    let opening = (0..SESSIONS).map(|number| open(&edge, number));
    let mut sockets: Vec<_> = stream::iter(opening).buffered(100).collect().await;
    let (who, may) = laravel.most_at_once();
    assert!(who <= 32 && may <= 4, "{who} and {may} questions at once");

    let [before, away, back] = ["before", "away", "back"];
    publish(&edge, before).await;
    laravel.stop();
    publish(&edge, away).await;
    laravel.restart().await;
    publish(&edge, back).await;

    for socket in &mut sockets {
        let told = socket.settle().await;
        let heard = told.iter().filter(|event| event["type"] == "new_message");
        let texts: Vec<_> = heard.map(|event| &event["payload"]["message"]).collect();
        assert_eq!(texts, [before, away, back]);
    }
    let questions = laravel.requests().len() as u64;
    assert_eq!(
        questions,
        2 * SESSIONS,
        "one about each token, one about each right"
    );
    assert_eq!(edge.get("/status").await.json()["sessions"], SESSIONS);
}

/// Its sessions are woken in turns: nobody misses his, however fast events come.
#[tokio::test]
async fn everyone_in_a_large_room_hears_every_event_in_order() {
    const MEMBERS: u64 = 100;
    let laravel = Laravel::start().await;
    // No ping wakes who was forgotten.
    let patient = "[websocket]\nping_interval = \"10m\"\nsilence_timeout = \"20m\"\n";
    let edge = Edge::configured(&laravel.url(), &format!("{LIMITS}{patient}"));
    let opening = (0..MEMBERS).map(|number| open(&edge, number * ROOMS));
    let mut sockets: Vec<_> = stream::iter(opening).buffered(20).collect().await;
    let event = |number: u64| {
        let payload = json!({ "ticket_id": CROWDED, "message": number });
        json!({ "type": "new_message", "payload": payload })
    };
    for number in 0..20 {
        let reached = edge.broadcast(&event(number).to_string()).await;
        assert_eq!(reached["sessions"], MEMBERS);
    }
    for socket in &mut sockets {
        let mut heard = Vec::new();
        while heard.len() < 20 {
            let told: Value = serde_json::from_str(&socket.text().await).unwrap();
            if told["type"] == "new_message" {
                heard.push(told);
            }
        }
        assert_eq!(heard, (0..20).map(event).collect::<Vec<_>>());
    }
}

async fn open(edge: &Edge, number: u64) -> Socket {
    let token = format!("{}|crowd", CROWDED + number);
    Socket::joined(edge, &token, CROWDED + number % ROOMS).await
}

/// Tells every room; everyone in it must be reached.
async fn publish(edge: &Edge, text: &str) {
    for room in 0..ROOMS {
        let payload = json!({ "ticket_id": CROWDED + room, "message": text });
        let event = json!({ "type": "new_message", "payload": payload });
        let reached: Value = edge.broadcast(&event.to_string()).await;
        assert_eq!(reached["sessions"], SESSIONS / ROOMS);
    }
}
