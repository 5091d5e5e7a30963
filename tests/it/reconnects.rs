//! Five thousand sessions, and a restart of the edge under them, with sockets that
//! outlive it as systemd's do. In a debug build there are fewer: it shakes hands so
//! slowly that the clients would only wait for each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, stream};
use serde_json::{Value, json};
use socket2::{Domain, Socket as System, Type};
use tokio::time::Instant;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::laravel::CROWDED;
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

const SESSIONS: u64 = if cfg!(debug_assertions) { 500 } else { 5000 };
const ROOMS: u64 = SESSIONS / 10;
/// They all come from one address here.
const LIMITS: &str = "[limits]\nexempt = [\"127.0.0.0/8\"]\n";

/// A session of a user of its own, in a room of ten. Comes back as
/// `docs/PROTOCOL.md` says, with jitter, until it is let in.
async fn open(home: &Home, address: SocketAddr, number: u64) -> Socket {
    loop {
        if let Some(socket) = try_open(home, address, number).await {
            return socket;
        }
        pause().await;
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(100..1000))).await;
}

/// Opens a session; `None` if it broke off, or the edge rejected or closed it.
async fn try_open(home: &Home, address: SocketAddr, number: u64) -> Option<Socket> {
    let stream = home.connect(address, "http/1.1").await.ok()?;
    let id = CROWDED + number;
    let url = format!("wss://localhost/ws?token={id}%7Ccrowd{id}");
    let (mut socket, _) = client_async(url, stream).await.ok()?;
    let ticket = CROWDED + number % ROOMS;
    let join = json!({ "type": "join_ticket", "payload": { "ticket_id": ticket } });
    loop {
        let Message::Text(text) = socket.next().await?.ok()? else {
            continue;
        };
        let event: Value = serde_json::from_str(&text).unwrap();
        match event["type"].as_str().unwrap() {
            "ticket_joined" => return Some(Socket(socket)),
            "connection" => {}
            // Too many joins at once: the client retries.
            "error" if event["payload"]["ticket_id"] == ticket => pause().await,
            "error" => return None,
            _ => continue,
        }
        socket.send(Message::text(join.to_string())).await.ok()?;
    }
}

/// The numbers in `bench/README.md` are what this prints in a release build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a restart takes ten seconds"]
async fn sessions_reconnect_after_a_restart() {
    pwd_edge::runtime::open_file_limit::raise_open_file_limit(30_000).unwrap();
    let laravel = Laravel::start().await;
    let site = System::new(Domain::IPV4, Type::STREAM, None).unwrap();
    site.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    site.listen(4096).unwrap();
    let address = site.local_addr().unwrap().as_socket().unwrap();
    let home = Home::new(&laravel.url(), address, LIMITS);
    let start = || {
        Program::start(
            &home,
            home.command_with(site.try_clone().unwrap().into(), None),
        )
    };
    let program = start();
    let opening = (0..SESSIONS).map(|number| open(&home, address, number));
    let sockets: Vec<_> = stream::iter(opening).buffered(100).collect().await;
    let restarted = Instant::now();
    let back = sockets.into_iter().enumerate().map(|(number, mut socket)| {
        let home = Arc::clone(&home);
        tokio::spawn(async move {
            assert_eq!(socket.closed().await.0, 1012);
            drop(socket);
            let jitter = Duration::from_millis(fastrand::u64(0..1000));
            tokio::time::sleep(jitter).await;
            let socket = open(&home, address, number as u64).await;
            (socket, restarted.elapsed())
        })
    });
    let back: Vec<_> = back.collect();
    let stopped = tokio::task::spawn_blocking(move || program.stop());
    assert!(stopped.await.unwrap().success());
    let stop = restarted.elapsed();
    let program = start();
    let (mut held, mut took) = (Vec::new(), Vec::new());
    for session in back {
        let (socket, after) = session.await.unwrap();
        held.push(socket);
        took.push(after);
    }
    took.sort();
    let (who, may) = laravel.max_concurrent_queries();
    println!(
        "the old process was gone after {stop:.1?}; half were back after {:.1?}, all after \
         {:.1?}; at most {who} and {may} questions at once",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(who <= 32 && may <= 32, "{who} and {may} questions at once");
    let status = program.status().await;
    assert_eq!(
        (&status["sessions"], &status["rooms"]),
        (&SESSIONS.into(), &ROOMS.into())
    );
}
