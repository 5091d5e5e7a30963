//! The question of Laravel about who has confirmed an event.

use std::collections::BTreeSet;

use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::{ON, Page, event, until_parked};
use crate::history::log::{greeted, home, publish, start};
use crate::support::http::{Client, body};
use crate::support::{Edge, Laravel, Socket};

/// The users who have confirmed the event of a response to Laravel, who may yet with an open
/// session, and who may when they return.
#[derive(Debug, PartialEq)]
struct Users {
    confirmed: BTreeSet<u64>,
    pending: BTreeSet<u64>,
    parked: BTreeSet<u64>,
}

impl Users {
    fn new<const C: usize, const P: usize, const L: usize>(
        confirmed: [u64; C],
        pending: [u64; P],
        parked: [u64; L],
    ) -> Self {
        Self {
            confirmed: confirmed.into(),
            pending: pending.into(),
            parked: parked.into(),
        }
    }

    fn of(report: &Value) -> Self {
        let ids = |name: &str| {
            let users = report[name].as_array().unwrap().iter();
            users.map(|id| id.as_u64().unwrap()).collect()
        };
        Self {
            confirmed: ids("confirmed"),
            pending: ids("pending"),
            parked: ids("parked"),
        }
    }
}

fn path(position: &Value) -> String {
    format!("/positions/{}/receipts", position.as_str().unwrap())
}

async fn receipts(edge: &Edge, published: &Value) -> Value {
    let response = edge.get(&path(&published["position"])).await;
    assert_eq!(response.status, StatusCode::OK, "{}", response.text());
    response.json()
}

/// The status and the code of the response about a position.
async fn rejection(edge: &Edge, position: &str) -> (u16, Value) {
    let response = edge.get(&format!("/positions/{position}/receipts")).await;
    (response.status.as_u16(), response.json()["code"].take())
}

/// Reads until the edge knows that `user` of `page` has the event; returns all users.
async fn until_confirmed(edge: &Edge, published: &Value, page: &mut Page, user: u64) -> Users {
    loop {
        // Its answer to a ping may come before that to the next.
        page.confirm().await;
        let users = Users::of(&receipts(edge, published).await);
        if users.confirmed.contains(&user) {
            return users;
        }
    }
}

#[tokio::test]
async fn members_who_answered_the_ping_are_confirmed_and_the_others_pending() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let early = edge.broadcast(&event(1, 0)).await;
    let mut ana = Page::open(&edge, "3|ana").await;
    ana.socket.join(1).await;
    // It reads nothing, so it answers no ping.
    let _desk = Socket::joined(&edge, "5|desk", 1).await;
    let first = edge.broadcast(&event(1, 1)).await;
    let report = receipts(&edge, &first).await;
    assert_eq!(
        (&report["position"], &report["room"], &report["complete"]),
        (&first["position"], &json!("ticket/1"), &json!(true))
    );
    assert_eq!(Users::of(&report), Users::new([], [3, 5], []));
    ana.read_through(1).await;
    let users = until_confirmed(&edge, &first, &mut ana, 3).await;
    assert_eq!(users, Users::new([3], [5], []));
    // Sessions that joined later were not to get it, though they have confirmed a later one.
    assert_eq!(
        Users::of(&receipts(&edge, &early).await),
        Users::new([], [], [])
    );
}

#[tokio::test]
async fn session_excepted_from_an_event_is_neither_confirmed_nor_pending() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut desk = Socket::open(&edge, "5|desk").await;
    let id = desk.next().await["payload"]["session_id"].take();
    desk.join(1).await;
    let _ana = Socket::joined(&edge, "3|ana", 1).await;
    let text = json!({ "type": "a", "payload": { "ticket_id": 1 }, "except": id });
    let published = edge.broadcast(&text.to_string()).await;
    let users = Users::of(&receipts(&edge, &published).await);
    assert_eq!(users, Users::new([], [3], []));
}

#[tokio::test]
async fn cut_member_is_parked_and_confirmed_after_its_return() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut page = Page::open(&edge, "3|ana").await;
    page.socket.join(1).await;
    let first = edge.broadcast(&event(1, 1)).await;
    page.read_through(1).await;
    until_confirmed(&edge, &first, &mut page, 3).await;
    drop(page.socket);
    until_parked(&edge, 1).await;
    let missed = edge.broadcast(&event(1, 2)).await;
    // What it had confirmed stays confirmed.
    assert_eq!(
        Users::of(&receipts(&edge, &first).await),
        Users::new([3], [], [])
    );
    assert_eq!(
        Users::of(&receipts(&edge, &missed).await),
        Users::new([], [], [3])
    );
    let mut page = Page::open(&edge, "3|ana").await;
    page.read_through(2).await;
    until_confirmed(&edge, &missed, &mut page, 3).await;
    until_parked(&edge, 0).await;
    for published in [&first, &missed] {
        let report = receipts(&edge, published).await;
        assert_eq!(Users::of(&report), Users::new([3], [], []));
        assert_eq!(report["complete"], true);
    }
}

#[tokio::test]
async fn member_that_left_or_closed_stays_confirmed_and_is_not_pending() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut desk = Page::open(&edge, "5|desk").await;
    desk.socket.join(1).await;
    desk.socket.join(2).await;
    let left = edge.broadcast(&event(1, 1)).await;
    let closed = edge.broadcast(&event(2, 2)).await;
    desk.read_through(2).await;
    until_confirmed(&edge, &left, &mut desk, 5).await;
    until_confirmed(&edge, &closed, &mut desk, 5).await;
    let leave = json!({ "type": "leave_ticket", "payload": { "ticket_id": 1 } });
    desk.socket.send(leave).await;
    desk.confirm().await;
    let late = edge.broadcast(&event(1, 3)).await;
    let unread = edge.broadcast(&event(2, 4)).await;
    assert_eq!(
        Users::of(&receipts(&edge, &unread).await),
        Users::new([], [5], [])
    );
    edge.post("/users/5/disconnect", "").await;
    desk.socket.gone().await;
    for (published, users) in [
        (&left, Users::new([5], [], [])),
        (&closed, Users::new([5], [], [])),
        (&late, Users::new([], [], [])),
    ] {
        assert_eq!(Users::of(&receipts(&edge, published).await), users);
    }
}

/// The process that starts does not know who had confirmed an event to the one before.
#[tokio::test]
async fn event_of_an_earlier_process_is_not_complete() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut app = program.laravel().await;
    let mut page = Page::new(greeted(&program).await);
    page.socket.join(1).await;
    let published = publish(&mut app, event(1, 1), "").await;
    program.kill();
    drop(page);

    let program = start(&home);
    let mut app = program.laravel().await;
    let report = fetch(&mut app, &published).await;
    assert_eq!(Users::of(&report), Users::new([], [], [3]));
    assert_eq!(report["complete"], false);
    let mut back = Page::new(greeted(&program).await);
    back.read_through(1).await;
    while Users::of(&fetch(&mut app, &published).await) != Users::new([3], [], []) {
        back.confirm().await;
    }
    let later = publish(&mut app, event(1, 2), "").await;
    assert_eq!(fetch(&mut app, &later).await["complete"], true);
}

async fn fetch(app: &mut Client, published: &Value) -> Value {
    let request = Request::get(path(&published["position"]));
    let request = request.header("host", "edge").body(body("")).unwrap();
    let response = app.fetch(request).await;
    assert_eq!(response.status, StatusCode::OK, "{}", response.text());
    response.json()
}

#[tokio::test]
async fn position_that_the_edge_cannot_tell_about_is_rejected_with_the_reason() {
    let laravel = Laravel::start().await;
    let one = format!("{ON}max_events_per_room = 1\n");
    let edge = Edge::configured(&laravel.url(), &one);
    let first = edge.broadcast(&event(1, 1)).await;
    edge.broadcast(&event(1, 2)).await;
    let first = first["position"].as_str().unwrap();
    let ahead = first.replace(".1", ".3");
    for (position, expected) in [
        (first, (410, "too_old")),
        (&*first.replace(".1", ".0"), (410, "too_old")),
        (&*ahead, (404, "ahead")),
        ("kQzVbTfa.1", (404, "other_epoch")),
        ("kQzVbTfa", (400, "invalid_position")),
        ("kQzVbTfa.01", (400, "invalid_position")),
        ("%2e%2e", (400, "invalid_position")),
        ("", (400, "invalid_position")),
    ] {
        let (status, code) = rejection(&edge, position).await;
        assert_eq!((status, &*code.to_string().replace('"', "")), expected);
    }
    let response = edge.post(&path(&json!(first)), "").await;
    assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn receipts_that_are_switched_off_are_rejected_with_the_key() {
    let laravel = Laravel::start().await;
    for (more, code, key) in [
        (
            "[history]\nenabled = false\n",
            "history_disabled",
            "history.enabled",
        ),
        (
            "[history]\ndirectory = \"\"\nold_clients = \"off\"\n",
            "old_clients_off",
            "history.old_clients",
        ),
    ] {
        let edge = Edge::configured(&laravel.url(), more);
        let published = edge.broadcast(&event(1, 1)).await;
        let known = published["position"].as_str().unwrap_or("kQzVbTfa.1");
        for position in [known, "kQzVbTfa.1"] {
            let response = edge.get(&path(&json!(position))).await;
            assert_eq!(response.status, StatusCode::CONFLICT);
            let failure = response.json();
            assert_eq!(failure["code"], code);
            let message = failure["message"].as_str().unwrap();
            assert!(message.contains(key), "{message}");
        }
    }
}
