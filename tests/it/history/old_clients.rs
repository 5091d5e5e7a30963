//! Clients that know no positions, as the front end that was there before the edge. They join
//! a ticket once, answer pings as browsers do, and do nothing when they return.

mod receipts;
mod restarts;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::Message;

use super::{ON, event, rejoin};
use crate::support::http::{Client, body, post};
use crate::support::{Edge, Laravel, Socket};

/// A page of such a client, with what it shows.
pub(super) struct Page {
    pub(super) socket: Socket,
    /// The numbers of the messages that it got, in their order.
    pub(super) got: Vec<u64>,
    /// How many it had got at each ping.
    pings: Vec<usize>,
}

impl Page {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            got: Vec::new(),
            pings: Vec::new(),
        }
    }

    async fn open(edge: &Edge, token: &str) -> Self {
        Self::new(Socket::greeted(edge, token).await)
    }

    /// Reads until it got `number`, which may be long ago.
    pub(super) async fn read_through(&mut self, number: u64) {
        let mut has_come = self.got.contains(&number);
        while !has_come {
            // Not a measure of anything: a test that hangs should say where.
            let frame = tokio::time::timeout(Duration::from_secs(30), self.socket.0.next()).await;
            match frame.unwrap_or_else(|_| panic!("{number} did not come: {:?}", self.got)) {
                Some(Ok(Message::Text(text))) => {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    assert_ne!(event["type"], "error", "{event}");
                    let came = event["payload"]["n"].as_u64();
                    self.got.extend(came);
                    has_come = came == Some(number);
                }
                Some(Ok(Message::Ping(_))) => self.pings.push(self.got.len()),
                Some(Ok(_)) => {}
                other => panic!("expected {number}, got {other:?}"),
            }
        }
    }

    /// Reads until the edge has its answer to the last ping.
    pub(super) async fn confirm(&mut self) {
        let events = self.socket.settle().await;
        let numbers = events
            .iter()
            .filter_map(|event| event["payload"]["n"].as_u64());
        self.got.extend(numbers);
    }

    /// Its messages in the order of their numbers, and those that came again.
    fn sorted(&self) -> (Vec<u64>, Vec<u64>) {
        let (mut sorted, mut twice) = (self.got.clone(), Vec::new());
        sorted.sort_unstable();
        sorted.dedup_by(|next, one| {
            let is_same = *next == *one;
            twice.extend(is_same.then_some(*one));
            is_same
        });
        (sorted, twice)
    }
}

/// The number of parked sessions.
async fn parked(edge: &Edge) -> u64 {
    let status = edge.get("/status").await.json();
    status["history"]["parked_sessions"].as_u64().unwrap()
}

/// Waits until so many sessions are parked.
async fn until_parked(edge: &Edge, sessions: u64) {
    while parked(edge).await != sessions {
        tokio::task::yield_now().await;
    }
}

/// Publishes to ticket 1, one after the other, until it is told to stop; returns how many.
async fn publish_until_told(socket: PathBuf, told: tokio::sync::oneshot::Receiver<()>) -> u64 {
    let mut app = Client::over_http1(UnixStream::connect(socket).await.unwrap()).await;
    let mut told = told;
    for number in 0.. {
        let request = post("/broadcast").body(body(event(1, number))).unwrap();
        assert_eq!(app.fetch(request).await.status, StatusCode::OK);
        if told.try_recv().is_ok() {
            return number + 1;
        }
    }
    unreachable!()
}

#[tokio::test]
async fn old_client_gets_what_it_missed_while_its_connection_was_cut() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut page = Page::open(&edge, "3|ana").await;
    page.socket.join(1).await;
    edge.broadcast(&event(1, 0)).await;
    page.read_through(0).await;
    page.confirm().await;
    drop(page.socket);
    until_parked(&edge, 1).await;
    for number in 1..4 {
        edge.broadcast(&event(1, number)).await;
    }
    let mut page = Page::open(&edge, "3|ana").await;
    page.read_through(3).await;
    assert_eq!(page.got, [1, 2, 3]);
    // It is in the room again, and the past is over.
    edge.broadcast(&event(1, 4)).await;
    page.read_through(4).await;
    page.confirm().await;
    assert_eq!(page.got, [1, 2, 3, 4]);
    until_parked(&edge, 0).await;
}

#[tokio::test]
async fn old_client_cut_in_a_stream_of_events_gets_all_and_few_twice() {
    let laravel = Laravel::start().await;
    // Much is published until it is back.
    let more = "max_events_per_room = 1000000\n[websocket]\nmax_queued_events = 1000000\n\
                max_queued_size = \"64 MiB\"\n";
    let edge = Edge::configured(&laravel.url(), &format!("{ON}{more}"));
    let mut page = Page::open(&edge, "3|ana").await;
    page.socket.join(1).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let publisher = tokio::spawn(publish_until_told(edge.broadcasts.clone(), told));
    page.read_through(30).await;
    let Page { socket, got, pings } = page;
    drop(socket);
    until_parked(&edge, 1).await;
    let mut back = Page::open(&edge, "3|ana").await;
    let first = got.len() as u64;
    back.read_through(first).await;
    tell.send(()).unwrap();
    let published = publisher.await.unwrap();
    back.read_through(published - 1).await;

    // The answer to the last ping may not have left.
    let unconfirmed = pings.iter().rev().nth(1).copied().unwrap_or_default();
    let earliest = *back.got.iter().min().unwrap();
    assert!(earliest >= unconfirmed as u64, "{earliest} < {unconfirmed}");
    let whole = Page {
        got: [got, back.got].concat(),
        ..back
    };
    let (sorted, twice) = whole.sorted();
    assert_eq!(sorted, (0..published).collect::<Vec<_>>());
    assert!(twice.len() as u64 <= first, "{twice:?}");
}

#[tokio::test]
async fn old_client_that_joins_again_gets_the_missed_events_once() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    drop(Socket::joined(&edge, "3|ana", 1).await);
    until_parked(&edge, 1).await;
    edge.broadcast(&event(1, 1)).await;
    let mut page = Page::open(&edge, "3|ana").await;
    page.socket.join(1).await;
    page.read_through(1).await;
    page.confirm().await;
    assert_eq!(page.got, [1]);
}

#[tokio::test]
async fn client_with_positions_gets_the_missed_events_once() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let since = rejoin(&mut socket, 1, &Value::Null).await["position"].take();
    drop(socket);
    until_parked(&edge, 1).await;
    edge.broadcast(&event(1, 1)).await;
    let mut page = Page::open(&edge, "3|ana").await;
    let joined = rejoin(&mut page.socket, 1, &since).await;
    assert_eq!(joined["missed"], 1, "{joined}");
    until_parked(&edge, 0).await;
    page.read_through(1).await;
    page.confirm().await;
    assert_eq!(page.got, [1]);
}

#[tokio::test]
async fn old_client_whose_right_was_withdrawn_gets_nothing() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    drop(Socket::joined(&edge, "3|ana", 1).await);
    until_parked(&edge, 1).await;
    edge.broadcast(&event(1, 1)).await;
    laravel.withdraw(3, 1);
    edge.post("/users/3/revalidate", "").await;
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    until_parked(&edge, 0).await;
    assert_eq!(socket.settle().await, [] as [Value; 0]);
    assert_eq!(edge.broadcast(&event(1, 2)).await["sessions"], json!(0));
}

#[tokio::test]
async fn logout_and_disconnect_drop_what_is_parked() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    drop(Socket::joined(&edge, "3|ana", 1).await);
    until_parked(&edge, 1).await;
    let log_out = Request::post("/api/logout")
        .header("host", "localhost")
        .header("authorization", "Bearer 3|ana");
    let request = log_out.body(body("")).unwrap();
    let answer = Client::http1(&edge).await.fetch(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(parked(&edge).await, 0);

    drop(Socket::joined(&edge, "5|desk", 1).await);
    until_parked(&edge, 1).await;
    edge.post("/users/5/disconnect", "").await;
    assert_eq!(parked(&edge).await, 0);
    edge.broadcast(&event(1, 1)).await;
    let mut page = Page::open(&edge, "5|desk").await;
    page.socket.join(1).await;
    page.confirm().await;
    assert_eq!(page.got, [0; 0]);
}

/// Row 15 of the table of failures: the session was open at the log-out.
#[tokio::test]
async fn session_closed_by_a_logout_is_not_parked() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    edge.post("/users/3/disconnect", "").await;
    assert_eq!(ana.closed().await.0, 4504);
    ana.gone().await;
    assert_eq!(parked(&edge).await, 0);
    // A page that goes away says so.
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    ana.0.close(None).await.unwrap();
    ana.gone().await;
    assert_eq!(parked(&edge).await, 0);
}

/// Two tabs with one token, at different tickets. Nothing tells which of them returns first.
#[tokio::test]
async fn two_old_tabs_of_one_browser_get_both_what_they_missed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let first = Socket::joined(&edge, "5|desk", 1).await;
    drop((first, Socket::joined(&edge, "5|desk", 2).await));
    until_parked(&edge, 2).await;
    edge.broadcast(&event(1, 1)).await;
    edge.broadcast(&event(2, 2)).await;
    for left in [1, 0] {
        let mut page = Page::open(&edge, "5|desk").await;
        page.read_through(1).await;
        page.read_through(2).await;
        page.confirm().await;
        until_parked(&edge, left).await;
        page.socket.0.close(None).await.unwrap();
        page.socket.gone().await;
    }
}

/// Its network is gone: the edge hears of no end.
#[tokio::test]
async fn old_client_continues_its_session_whose_connection_is_dead() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let dead = Socket::joined(&edge, "3|ana", 1).await;
    edge.broadcast(&event(1, 1)).await;
    let mut page = Page::open(&edge, "3|ana").await;
    page.read_through(1).await;
    edge.broadcast(&event(1, 2)).await;
    page.read_through(2).await;
    page.confirm().await;
    assert_eq!(page.got, [1, 2]);
    drop(dead);
}
