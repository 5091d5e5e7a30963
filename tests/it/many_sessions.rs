//! Many sessions, and a Laravel that restarts under them.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::support::laravel::CROWDED;
use crate::support::{Edge, Laravel, Socket};

const SESSIONS: u64 = 2000;
const ROOMS: u64 = 200;

/// They all come from one address here.
const LIMITS: &str = r#"
[limits]
exempt = ["127.0.0.0/8"]
"#;
/// For sessions whose client reads nothing for a while.
const NO_PINGS: &str = "[websocket]\nping_interval = \"10m\"\npong_timeout = \"20m\"\n";

#[tokio::test]
async fn laravel_restart_loses_no_session_and_no_event() {
    pwd_edge::runtime::open_file_limit::raise_open_file_limit(5 * SESSIONS).unwrap();
    let laravel = Laravel::start().await;
    // A slow machine reads the first session again only after the last has opened.
    let edge = Edge::configured(&laravel.url(), &format!("{LIMITS}{NO_PINGS}"));
    let opening = (0..SESSIONS).map(|number| open(&edge, number));
    let mut sockets: Vec<_> = stream::iter(opening).buffered(100).collect().await;
    let (who, may) = laravel.max_concurrent_queries();
    assert!(who <= 32 && may <= 32, "{who} and {may} questions at once");

    let [before, away, back] = ["before", "away", "back"];
    publish(&edge, before).await;
    laravel.stop();
    publish(&edge, away).await;
    laravel.restart().await;
    publish(&edge, back).await;

    for socket in &mut sockets {
        let events = socket.settle().await;
        let heard = events.iter().filter(|event| event["type"] == "new_message");
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

/// The edge wakes its sessions in turns. None misses an event, however fast they come.
#[tokio::test]
async fn members_of_a_large_room_get_every_event_in_order() {
    const MEMBERS: u64 = 100;
    let laravel = Laravel::start().await;
    // No ping wakes a session that the scheduler forgot.
    let edge = Edge::configured(&laravel.url(), &format!("{LIMITS}{NO_PINGS}"));
    let mut sockets = open_members(&edge, MEMBERS).await;
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
            let event = socket.next().await;
            if event["type"] == "new_message" {
                heard.push(event);
            }
        }
        assert_eq!(heard, (0..20).map(event).collect::<Vec<_>>());
    }
}

/// Their queues hold less than two batches: publishers wait, and no session is closed.
///
/// Few members and large batches: a busy machine serves them within the publisher's wait.
#[tokio::test]
async fn concurrent_publishers_wait_and_evict_no_session() {
    const MEMBERS: u64 = 5;
    const BATCHES: u64 = 8;
    const EVENTS: u64 = 30;
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &format!("{LIMITS}{SMALL_QUEUE}"));
    let sockets = open_members(&edge, MEMBERS).await;
    let publishing = (0..BATCHES).map(|batch| {
        let edge = &edge;
        async move {
            let events = (batch * EVENTS..(batch + 1) * EVENTS).map(numbered);
            let events = events.collect::<Vec<_>>().join(",");
            let reports = edge.broadcast(&format!("[{events}]")).await;
            for report in reports.as_array().unwrap() {
                assert_eq!(report["sessions"], MEMBERS);
            }
        }
    });
    tokio::join!(
        assert_all_receive(sockets, BATCHES * EVENTS),
        join_all(publishing)
    );
}

/// The edge publishes a complete request even if its client has left.
#[tokio::test]
async fn publisher_that_hangs_up_still_has_its_event_delivered() {
    const MEMBERS: u64 = 50;
    const EVENTS: u64 = 36;
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &format!("{LIMITS}{SMALL_QUEUE}"));
    // In its first second the edge discards such a client: it may have waited for the start.
    let mut probe = Socket::joined(&edge, "4|ben", 2).await;
    let event = json!({ "type": "new_message", "payload": { "ticket_id": 2 } });
    while probe.settle().await.is_empty() {
        publish_and_hang_up(&edge, event.to_string()).await;
    }
    let sockets = open_members(&edge, MEMBERS).await;
    // No more than their queues hold, since a client that leaves waits for no session.
    let publishing = (0..EVENTS).map(|number| publish_and_hang_up(&edge, numbered(number)));
    join_all(publishing).await;
    assert_all_receive(sockets, EVENTS).await;
}

async fn publish_and_hang_up(edge: &Edge, event: String) {
    let length = event.len();
    let head =
        format!("POST /broadcast HTTP/1.1\r\nHost: edge\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = UnixStream::connect(&edge.broadcasts).await.unwrap();
    stream.write_all((head + &event).as_bytes()).await.unwrap();
}

/// Events are sent for sessions while they rest, and they do not rest here.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn direct_writes_and_session_writes_keep_their_order() {
    const MEMBERS: u64 = 50;
    const ROUNDS: usize = 8;
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LIMITS);
    let sockets = open_members(&edge, MEMBERS).await;
    let coming_and_going = sockets.into_iter().map(|mut socket| async move {
        for _ in 0..ROUNDS {
            let ticket = json!({ "ticket_id": CROWDED });
            let command = |kind| json!({ "type": kind, "payload": ticket });
            socket.send(command("leave_ticket")).await;
            socket.settle().await;
            socket.send(command("join_ticket")).await;
            assert_eq!(socket.next().await["type"], "ticket_joined");
            socket.send(json!({ "type": "ping" })).await;
            let (mut heard, mut answered) = (Vec::new(), false);
            while heard.len() < 5 || !answered {
                let event = socket.next().await;
                match event["type"].as_str() {
                    Some("new_message") => heard.push(event["payload"]["message"].as_u64()),
                    Some("pong") => answered = true,
                    _ => {}
                }
            }
            let first = heard[0].unwrap();
            let expected = (first..).map(Some).take(heard.len());
            assert!(expected.eq(heard));
        }
    });
    let publishing = async {
        for number in 0.. {
            edge.broadcast(&numbered(number)).await;
        }
    };
    tokio::select! {
        _ = join_all(coming_and_going) => {}
        () = publishing => {}
    }
}

const SMALL_QUEUE: &str = "[websocket]\nmax_queued_events = 40\n";

fn numbered(number: u64) -> String {
    let payload = json!({ "ticket_id": CROWDED, "message": number });
    json!({ "type": "new_message", "payload": payload }).to_string()
}

/// Each of the numbered events comes to all, in one order.
async fn assert_all_receive(sockets: Vec<Socket>, events: u64) {
    let hearing = sockets.into_iter().map(|mut socket| async move {
        let mut heard = Vec::new();
        while (heard.len() as u64) < events {
            let event = socket.next().await;
            if event["type"] == "new_message" {
                heard.push(event["payload"]["message"].as_u64().unwrap());
            }
        }
        heard
    });
    let all = join_all(hearing).await;
    for heard in &all {
        assert_eq!(heard, &all[0], "in one order");
    }
    let numbers: BTreeSet<_> = all[0].iter().copied().collect();
    assert!(numbers.into_iter().eq(0..events));
}

/// Opens `count` sessions in the room [`CROWDED`].
async fn open_members(edge: &Edge, count: u64) -> Vec<Socket> {
    let opening = (0..count).map(|number| open(edge, number * ROOMS));
    stream::iter(opening).buffered(20).collect().await
}

async fn open(edge: &Edge, number: u64) -> Socket {
    let id = CROWDED + number;
    let token = format!("{id}|crowd{id}");
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
