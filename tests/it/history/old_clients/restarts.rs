//! Old clients over restarts and killed processes.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Page;
use crate::history::event;
use crate::history::log::{greeted, home, publish, start};
use crate::support::http::{Client, body, post};
use crate::support::laravel::CROWDED;
use crate::support::program::Program;
use crate::support::{Laravel, Socket};

async fn page(program: &Program) -> Page {
    Page::new(greeted(program).await)
}

#[tokio::test]
async fn old_client_continues_after_a_killed_process() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut app = program.laravel().await;
    let mut first = page(&program).await;
    first.socket.join(1).await;
    publish(&mut app, event(1, 0), "").await;
    first.read_through(0).await;
    // Killed before the client has read these, or after: nobody knows.
    publish(&mut app, event(1, 1), "").await;
    program.kill();

    let program = start(&home);
    assert_eq!(program.status().await["history"]["parked_sessions"], 1);
    publish(&mut program.laravel().await, event(1, 2), "").await;
    let mut back = page(&program).await;
    back.read_through(2).await;
    assert!(back.got.ends_with(&[1, 2]), "{:?}", back.got);
    back.confirm().await;
    assert_eq!(program.status().await["history"]["parked_sessions"], 0);
}

#[tokio::test]
async fn old_client_continues_after_a_restart() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let program = start(&home);
    let mut first = page(&program).await;
    first.socket.join(1).await;
    publish(&mut program.laravel().await, event(1, 0), "").await;
    first.read_through(0).await;
    first.confirm().await;
    program.signal("-TERM");
    assert_eq!(first.socket.closed().await.0, 1012);
    drop(first);
    assert!(program.stop().success());

    let program = start(&home);
    publish(&mut program.laravel().await, event(1, 1), "").await;
    let mut back = page(&program).await;
    back.read_through(1).await;
    assert_eq!(back.got, [1]);
}

#[tokio::test]
async fn two_tabs_continue_after_a_kill_between_their_returns() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut tabs = [page(&program).await, page(&program).await];
    tabs[0].socket.join(1).await;
    tabs[1].socket.join(CROWDED).await;
    drop(tabs);
    while program.status().await["history"]["parked_sessions"] != 2 {
        tokio::task::yield_now().await;
    }
    let mut app = program.laravel().await;
    publish(&mut app, event(1, 1), "").await;
    publish(&mut app, event(CROWDED, 2), "").await;
    let mut second = page(&program).await;
    second.read_through(1).await;
    second.read_through(2).await;
    second.confirm().await;
    assert_eq!(program.status().await["history"]["parked_sessions"], 1);
    // The marks come before this event.
    publish(&mut app, event(3, 3), "").await;
    program.kill();

    let program = start(&home);
    let mut first = page(&program).await;
    first.read_through(1).await;
}

#[tokio::test]
async fn excepted_client_does_not_get_its_own_messages_after_a_restart() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let stream = program.connect("http/1.1").await;
    let (socket, id) = Socket::over_with_id(stream, "3|ana").await;
    let mut own = Page::new(socket);
    own.socket.join(1).await;
    let mut app = program.laravel().await;
    let except = |number: u64, user: Value| {
        let payload = json!({ "ticket_id": 1, "n": number });
        json!({ "type": "a", "payload": payload, "except": id, "except_user": user }).to_string()
    };
    publish(&mut app, except(0, Value::Null), "").await;
    publish(&mut app, except(1, json!(3)), "").await;
    // An id of a session that belongs to another user excepts nobody.
    publish(&mut app, except(2, json!(4)), "").await;
    own.read_through(2).await;
    assert_eq!(own.got, [2]);
    program.kill();

    let program = start(&home);
    assert_eq!(program.status().await["history"]["parked_sessions"], 1);
    assert!(program.stop().success());
    let program = start(&home);
    publish(&mut program.laravel().await, event(1, 3), "").await;
    let mut back = page(&program).await;
    back.read_through(3).await;
    let own = back.got.iter().filter(|number| [0, 1].contains(number));
    assert_eq!(own.count(), 0, "{:?}", back.got);
}

#[tokio::test]
async fn session_that_ended_for_good_is_not_restored() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut left = page(&program).await;
    left.socket.join(1).await;
    let payload = serde_json::json!({ "ticket_id": 1 });
    let leave = serde_json::json!({ "type": "leave_ticket", "payload": payload });
    left.socket.send(leave).await;
    left.confirm().await;
    let mut closed = page(&program).await;
    closed.socket.join(1).await;
    closed.socket.0.close(None).await.unwrap();
    closed.socket.gone().await;
    let mut disconnected = page(&program).await;
    disconnected.socket.join(1).await;
    let request = post("/users/3/disconnect");
    let request = request.body(body("")).unwrap();
    program.laravel().await.fetch(request).await;
    disconnected.socket.gone().await;
    // Its marks come before this event.
    publish(&mut program.laravel().await, event(1, 1), "").await;
    program.kill();
    let program = start(&home);
    assert_eq!(program.status().await["history"]["parked_sessions"], 0);
}

#[tokio::test]
async fn old_client_loses_no_acknowledged_event_over_many_kills() {
    let laravel = Laravel::start().await;
    let more = "max_events_per_room = 1000000\n[websocket]\nmax_queued_events = 1000000\n\
                max_queued_size = \"64 MiB\"\n";
    let home = home(&laravel, more);
    let (mut acknowledged, mut got) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut program = start(&home);
        let mut page = page(&program).await;
        if round == 0 {
            page.socket.join(1).await;
        }
        // Killed in the middle of the requests, which run at once.
        let publishers = (0..4).map(|publisher| {
            let socket = program.path("broadcast.sock");
            tokio::spawn(publish_until_killed(
                socket,
                round * 1_000_000 + publisher * 100_000,
            ))
        });
        let publishers: Vec<_> = publishers.collect();
        page.read_through(round * 1_000_000 + 20).await;
        program.kill();
        got.extend(page.got);
        for publisher in publishers {
            acknowledged.extend(publisher.await.unwrap());
        }
    }
    let program = start(&home);
    let mut page = page(&program).await;
    let last = 10_000_000;
    publish(&mut program.laravel().await, event(1, last), "").await;
    page.read_through(last).await;
    got.extend(page.got);
    got.sort_unstable();
    let lost = acknowledged
        .iter()
        .filter(|number| got.binary_search(number).is_err());
    assert_eq!(lost.collect::<Vec<_>>(), [&0_u64; 0]);
    let status: Value = program.status().await;
    assert_eq!(status["history"]["parked_sessions"], 0);
}

const ROUNDS: u64 = 4;

/// Publishes numbers from `first` until the edge is gone; returns the acknowledged ones.
async fn publish_until_killed(socket: std::path::PathBuf, first: u64) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let mut app = Client::over_http1(stream).await;
    for number in first.. {
        let request = post("/broadcast").body(body(event(1, number))).unwrap();
        match app.send(request).await {
            Ok(response) if response.status() == StatusCode::OK => acknowledged.push(number),
            _ => break,
        }
    }
    acknowledged
}
