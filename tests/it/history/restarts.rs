//! Restarts, reloads and kills of the edge: what its members and Laravel get across them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::load::{Load, Plan, SETTINGS};
use super::log::{greeted, home, publish, start};
use super::{event, rejoin};
use crate::support::http::{Client, body, post};
use crate::support::laravel::CROWDED;
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

/// As systemd restarts the service, also for an upgrade of the package: its sockets stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_with_passed_sockets_lose_and_repeat_no_event() {
    const RESTARTS: u64 = 3;
    const EVENTS: u64 = 5_000;
    let laravel = Laravel::start().await;
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new(&laravel.url(), site.local_addr().unwrap(), SETTINGS);
    home.configure("[server]\n", "[server]\nclose_spread = \"1s\"\n");
    let broadcasts = UnixListener::bind(home.path("broadcast.sock")).unwrap();
    let start = || {
        let (site, broadcasts) = (site.try_clone().unwrap(), broadcasts.try_clone().unwrap());
        let command = home.command_with(site.into(), Some(broadcasts.into()));
        Program::start(&home, command)
    };
    let mut program = start();
    let plan = Plan {
        events: (RESTARTS + 1) * EVENTS,
        pause: Duration::from_millis(50),
        ..Plan::default()
    };
    let load = Load::start(&home, &program, plan);
    for restart in 0..RESTARTS {
        load.acknowledged(restart * EVENTS + EVENTS / 2).await;
        program = tokio::task::block_in_place(|| {
            assert!(program.stop().success());
            start()
        });
    }
    let outcome = load.finish(&program).await;
    assert_eq!((outcome.lost, outcome.twice), (0, 0), "{outcome:?}");
    assert!(!outcome.codes.is_empty(), "{outcome:?}");
    assert!(
        outcome.codes.iter().all(|code| *code == 1012),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_close_no_session_and_lose_no_event() {
    const RELOADS: u64 = 5;
    const EVENTS: u64 = 500;
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), ([127, 0, 0, 1], 0).into(), SETTINGS);
    let program = start(&home);
    let plan = Plan {
        events: (RELOADS + 1) * EVENTS,
        ..Plan::default()
    };
    let load = Load::start(&home, &program, plan);
    for reload in 0..RELOADS {
        load.acknowledged(reload * EVENTS + EVENTS / 2).await;
        program.send_sighup();
        while program.events("reload_succeeded").len() as u64 <= reload {
            tokio::task::yield_now().await;
        }
    }
    let outcome = load.finish(&program).await;
    assert_eq!((outcome.lost, outcome.twice), (0, 0), "{outcome:?}");
    assert_eq!((outcome.retries, outcome.visits), (0, 4), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_again_and_again_under_load_miss_and_repeat_no_event() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), ([127, 0, 0, 1], 0).into(), SETTINGS);
    let program = start(&home);
    let plan = Plan {
        events: 5_000,
        cuts: true,
        ..Plan::default()
    };
    let load = Load::start(&home, &program, plan);
    let outcome = load.finish(&program).await;
    assert_eq!((outcome.lost, outcome.twice), (0, 0), "{outcome:?}");
    assert!(outcome.visits > 20, "{outcome:?}");
    assert_eq!(outcome.retries, 0, "{outcome:?}");
}

/// The member reads while the edge is killed at any moment between the receipt of requests and
/// their responses. Then Laravel retries all of them. Each is sent over two connections at once,
/// before and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_at_a_kill_are_published_once_by_their_retries() {
    let laravel = Laravel::start().await;
    let home = home(&laravel, "");
    let mut program = start(&home);
    let mut member = Member::join(&program).await;
    let (mut stored, mut unstored) = (0, 0);
    for round in 0..MAX_ROUNDS {
        if round >= MIN_ROUNDS && stored > 0 && unstored > 0 {
            break;
        }
        let reading = tokio::spawn(member.read_to_end());
        let acknowledged = send_and_kill(&mut program, round).await;
        member = reading.await.unwrap();
        program = tokio::task::block_in_place(|| start(&home));
        member.rejoin(&program).await;
        for (number, before) in acknowledged {
            let retry = || try_publish(home.path("broadcast.sock"), number);
            let (first, second) = tokio::join!(retry(), retry());
            assert!(
                first.is_some() && first == second,
                "one key, two connections"
            );
            if let Some(position) = member.got.get(&number) {
                stored += usize::from(before.is_empty());
                assert_eq!(first.as_ref(), Some(position));
            } else {
                assert_eq!(before, [] as [Value; 0], "event {number} is lost");
                unstored += 1;
                assert_eq!(member.next().await, number);
                assert_eq!(first.as_ref(), member.got.get(&number));
            }
            assert!(
                before
                    .iter()
                    .all(|position| Some(position) == first.as_ref())
            );
        }
        assert_eq!(
            member.socket.settle().await,
            [] as [Value; 0],
            "a second event"
        );
    }
    assert!(
        stored > 0,
        "no edge was killed between a write and its response"
    );
    assert!(unstored > 0, "no edge was killed before a write");
}

/// A member of ticket 1, which returns with its last position.
struct Member {
    socket: Socket,
    since: Value,
    /// The events by their numbers, with their positions.
    got: BTreeMap<u64, Value>,
}

impl Member {
    async fn join(program: &Program) -> Self {
        let mut socket = greeted(program).await;
        let since = rejoin(&mut socket, 1, &Value::Null).await["position"].take();
        Self {
            socket,
            since,
            got: BTreeMap::new(),
        }
    }

    async fn rejoin(&mut self, program: &Program) {
        self.socket = greeted(program).await;
        let joined = rejoin(&mut self.socket, 1, &self.since).await;
        assert_eq!(joined["recovered"], json!(true), "{joined}");
        for _ in 0..joined["missed"].as_u64().unwrap() {
            self.next().await;
        }
    }

    async fn next(&mut self) -> u64 {
        let event = self.socket.until("new_message").await;
        self.take(event)
    }

    async fn read_to_end(mut self) -> Self {
        while let Some(Ok(message)) = self.socket.0.next().await {
            if let Message::Text(text) = message {
                self.take(serde_json::from_str(&text).unwrap());
            }
        }
        self
    }

    fn take(&mut self, mut event: Value) -> u64 {
        let number = event["payload"]["n"].as_u64().unwrap();
        self.since = event["position"].take();
        let before = self.got.insert(number, self.since.clone());
        assert_eq!(before, None, "event {number} came twice");
        number
    }
}

/// Sends requests at once, each over two connections, and kills the edge after some responses.
/// Returns the number of each with the positions in its responses.
async fn send_and_kill(program: &mut Program, round: u64) -> BTreeMap<u64, Vec<Value>> {
    let (responded, mut responses) = mpsc::unbounded_channel();
    let numbers = round * REQUESTS..(round + 1) * REQUESTS;
    let sending = numbers.flat_map(|number| [number; 2]).map(|number| {
        let (socket, responded) = (program.path("broadcast.sock"), responded.clone());
        tokio::spawn(async move {
            let position = try_publish(socket, number).await;
            responded.send(()).unwrap();
            (number, position)
        })
    });
    let sending: Vec<_> = sending.collect();
    for _ in 0..fastrand::u64(1..2 * REQUESTS) {
        responses.recv().await.unwrap();
    }
    program.kill();
    let mut acknowledged: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for sent in sending {
        let (number, position) = sent.await.unwrap();
        acknowledged.entry(number).or_default().extend(position);
    }
    acknowledged
}

/// Publishes an event with its key; returns its position, or `None` without a response.
async fn try_publish(socket: PathBuf, number: u64) -> Option<Value> {
    let mut app = Client::over_http1(UnixStream::connect(socket).await.ok()?).await;
    let payload = json!({ "ticket_id": 1, "n": number, "text": "x".repeat(10_000) });
    let event = json!({ "type": "new_message", "payload": payload });
    let request = post("/broadcast").header("idempotency-key", format!("job-{number}"));
    let response = app
        .send(request.body(body(event.to_string())).unwrap())
        .await;
    let response = response.ok()?;
    assert_eq!(response.status(), StatusCode::OK);
    let report = response.into_body().collect().await.ok()?.to_bytes();
    let mut report: Value = serde_json::from_slice(&report).unwrap();
    Some(report["position"].take())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_return_at_once_after_a_kill_are_recovered_within_the_limit_of_questions() {
    const SESSIONS: u64 = 200;
    const ROOMS: u64 = 20;
    let laravel = Laravel::start().await;
    let more = "[limits]\nexempt = [\"127.0.0.0/8\"]\n\
                [auth]\nmax_concurrent_user_requests = 4\nmax_concurrent_ticket_requests = 4\n";
    let home = home(&laravel, more);
    let mut program = start(&home);
    let opening = (0..SESSIONS).map(|number| open(&program, number, ROOMS, Value::Null));
    let opened: Vec<_> = stream::iter(opening).buffered(20).collect().await;
    program.kill();
    let program = start(&home);
    let mut app = program.laravel().await;
    for number in 0..3 * ROOMS {
        publish(
            &mut app,
            event(CROWDED + number % ROOMS, number / ROOMS),
            "",
        )
        .await;
    }
    let returning = (0..SESSIONS).zip(opened).map(|(number, (_, mut joined))| {
        let since = joined["position"].take();
        open(&program, number, ROOMS, since)
    });
    for (mut socket, joined) in join_all(returning).await {
        let recovery = (&joined["recovered"], &joined["missed"]);
        assert_eq!(recovery, (&json!(true), &json!(3)));
        for number in 0..3 {
            let event = socket.until("new_message").await;
            assert_eq!(event["payload"]["n"], json!(number));
        }
    }
    let (who, may) = laravel.max_concurrent_queries();
    assert!(who <= 4 && may <= 4, "{who} and {may} questions at once");
    assert_eq!(laravel.requests().len() as u64, 2 * 2 * SESSIONS);
}

/// Opens a session of a user of its own, and joins its room.
async fn open(program: &Program, number: u64, rooms: u64, since: Value) -> (Socket, Value) {
    let user = CROWDED + number;
    let stream = program.connect("http/1.1").await;
    let mut socket = Socket::over(stream, &format!("{user}|crowd{user}")).await;
    let joined = rejoin(&mut socket, CROWDED + number % rooms, &since).await;
    (socket, joined)
}

/// Each sends this many requests, until both outcomes were seen.
const MIN_ROUNDS: u64 = 5;
const MAX_ROUNDS: u64 = 100;
const REQUESTS: u64 = 8;
