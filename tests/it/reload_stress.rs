//! Hundreds of reloads of the binary under load, and what they cost.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::http::{Client, body, get};
use crate::support::laravel::CROWDED;
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

/// In each half of the test.
const RELOADS: u64 = 100;
const SESSIONS: u64 = 100;
/// Before anything is measured, so that memory and pools have their size.
const WARM_UP: u64 = 20;
/// Reloads from one reading of what they cost to the next.
const STEP: u64 = 10;

/// Clients with one request per connection. A reload or a deadline may close an idle
/// connection at any moment, so a client that keeps one could fail.
#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    async fn client(&self, program: &Program) {
        while !self.is_over.load(Ordering::Relaxed) {
            let mut client = program.http1().await;
            let answer = client.fetch(get("/").body(body("")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK);
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn wait_for_responses(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        while self.answered.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
    }
}

/// A session that must hear of every event, in order.
async fn listen(program: &Program, number: u64) -> JoinHandle<Socket> {
    let id = CROWDED + number;
    let token = format!("{id}|crowd{id}");
    let mut socket = Socket::over(program.connect("http/1.1").await, &token).await;
    socket.join(CROWDED).await;
    tokio::spawn(async move {
        for number in 0..WARM_UP + 2 * RELOADS {
            let event = socket.until("new_message").await;
            assert_eq!(event["payload"]["number"], number);
        }
        socket
    })
}

/// What the program holds while no connection uses an old configuration.
#[derive(Clone, Copy, Debug)]
struct ResourceUse {
    memory: u64,
    files: usize,
}

impl ResourceUse {
    async fn of(program: &Program) -> Self {
        loop {
            let stream = UnixStream::connect(program.path("broadcast.sock")).await;
            let mut client = Client::over_http1(stream.unwrap()).await;
            let answer = client.fetch(get("/metrics").body(body("")).unwrap()).await;
            if answer.text().contains("\npwd_edge_config_generations 1\n") {
                return Self {
                    memory: program.memory().0,
                    files: program.open_files(),
                };
            }
            tokio::task::yield_now().await;
        }
    }

    /// The least that each of both held: what the allocator keeps for a while moves
    /// by megabytes, what is lost stays.
    fn least(self, other: Self) -> Self {
        Self {
            memory: self.memory.min(other.memory),
            files: self.files.min(other.files),
        }
    }
}

/// Turns one route into the next, and waits until the edge says that it goes by
/// it: how long that takes, with the start of the command that sends the signal.
async fn reload(program: &Program, home: &Home, number: u64) -> Duration {
    home.configure(&format!("\"/{number}\""), &format!("\"/{}\"", number + 1));
    let before = Instant::now();
    program.send_sighup();
    let says_so = |line: &Value| line["event"] == "reload_succeeded";
    while program.count(says_so) as u64 <= number {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    before.elapsed()
}

/// Some reloads one after the other, each with an event and a request behind it, and
/// the least that was held after some of them.
async fn reloads(
    program: &Program,
    home: &Home,
    load: &Load,
    numbers: Range<u64>,
) -> (Vec<Duration>, ResourceUse) {
    let (mut took, mut held) = (Vec::new(), None);
    for number in numbers {
        took.push(reload(program, home, number).await);
        program.publish(CROWDED, json!({ "number": number })).await;
        load.wait_for_responses().await;
        if number % STEP == STEP - 1 {
            let now = ResourceUse::of(program).await;
            held = held.map(|held| now.least(held)).or(Some(now));
        }
    }
    (took, held.unwrap())
}

/// The numbers in `bench/README.md` are what this prints in a release build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: hundreds of reloads"]
async fn program_reloaded_hundreds_of_times_loses_and_leaks_nothing() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nexempt = [\"127.0.0.0/8\"]\n[[routes]]\npath = \"/0\"\nstatus = 404\n";
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), more);
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    let program = Arc::new(Program::start(&home, command));
    let opening = (0..SESSIONS).map(|number| listen(&program, number));
    let sessions: Vec<_> = stream::iter(opening).buffered(4).collect().await;
    let load = Arc::new(Load::default());
    let clients = [(); 4].map(|()| {
        let (program, load) = (Arc::clone(&program), Arc::clone(&load));
        tokio::spawn(async move { load.client(&program).await })
    });

    let (start, middle, end) = (WARM_UP, WARM_UP + RELOADS, WARM_UP + 2 * RELOADS);
    reloads(&program, &home, &load, 0..start).await;
    let answered = load.answered.load(Ordering::Relaxed);
    let (mut took, before) = reloads(&program, &home, &load, start..middle).await;
    let (more, after) = reloads(&program, &home, &load, middle..end).await;
    let answered = load.answered.load(Ordering::Relaxed) - answered;
    took.extend(more);
    took.sort();

    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    for session in sessions {
        session.await.unwrap().settle().await;
    }
    println!(
        "{} reloads under {answered} requests and {SESSIONS} sessions: half within {:.1?}, \
         all within {:.1?}; in the first half {} KiB of memory and {} files, in the second {} KiB and {}",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1],
        before.memory / 1024,
        before.files,
        after.memory / 1024,
        after.files,
    );
    // One file for each would be a hundred; clients come and go meanwhile.
    assert!(
        after.files < before.files + 20,
        "{before:?}, then {after:?}"
    );
    // As would be 80 KiB.
    assert!(
        after.memory < before.memory + (8 << 20),
        "{before:?}, then {after:?}"
    );
}
