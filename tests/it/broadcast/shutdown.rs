//! Broadcasts while the edge stops, and after its restart.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;

use futures_util::FutureExt;
use futures_util::future::select_all;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::support::http::{Client, body, post};
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

const EVENT: &str = r#"{"type":"a","payload":{"ticket_id":1}}"#;
const SESSIONS: usize = 10;

async fn broadcast(laravel: &mut Client) -> Value {
    let answer = laravel.fetch(post("/broadcast").body(body(EVENT)).unwrap());
    let answer = answer.await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.json()
}

#[tokio::test]
async fn broadcast_during_a_shutdown_reaches_the_sessions_that_are_left() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    home.configure("[server]\n", "[server]\nclose_spread = \"25s\"\n");
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    let program = Program::start(&home, command);
    let mut sockets = Vec::new();
    for _ in 0..SESSIONS {
        let mut socket = Socket::over(program.connect("http/1.1").await, "3|ana").await;
        socket.join(1).await;
        sockets.push(socket);
    }
    let connect = || async {
        let stream = UnixStream::connect(home.path("broadcast.sock")).await?;
        Ok::<_, std::io::Error>(Client::over_http1(stream).await)
    };
    let mut kept = connect().await.unwrap();
    assert_eq!(broadcast(&mut kept).await["sessions"], SESSIONS);
    program.signal("-TERM");
    // The others close up to 25 s later.
    let closing = sockets.iter_mut().map(|socket| socket.closed().boxed());
    let ((code, _), closed, _) = select_all(closing).await;
    assert_eq!(code, 1012);
    drop(sockets.remove(closed));
    let mut new = connect().await.unwrap();
    for laravel in [&mut kept, &mut new] {
        let reached = broadcast(laravel).await["sessions"].as_u64().unwrap();
        assert!((1..SESSIONS as u64).contains(&reached), "{reached}");
    }
    // Without a session the process ends, and the next one can take over.
    drop(sockets);
    while connect().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// A queue repeats the job with the same key once members are back.
#[tokio::test]
async fn broadcast_of_a_client_that_gave_up_before_the_start_is_not_taken() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    let kept = UnixListener::bind(home.path("broadcast.sock")).unwrap();
    let request = format!(
        "POST /broadcast HTTP/1.1\r\nhost: edge\r\nidempotency-key: job-1\r\n\
         content-length: {}\r\n\r\n{EVENT}",
        EVENT.len()
    );
    let connect = || UnixStream::connect(home.path("broadcast.sock"));
    let mut gave_up = connect().await.unwrap();
    gave_up.write_all(request.as_bytes()).await.unwrap();
    drop(gave_up);
    // This one waits for its response.
    let mut waits = Client::over_http1(connect().await.unwrap()).await;
    let waiting = tokio::spawn(async move { broadcast(&mut waits).await });
    let program = Program::start(&home, home.command_with(kept.into(), None));
    assert_eq!(
        waiting.await.unwrap(),
        json!({ "sessions": 0, "users": [] })
    );
    let mut ana = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    ana.join(1).await;
    let mut retry = Client::over_http1(connect().await.unwrap()).await;
    let request = post("/broadcast").header("idempotency-key", "job-1");
    let answer = retry.fetch(request.body(body(EVENT)).unwrap()).await;
    assert_eq!(answer.json(), json!({ "sessions": 1, "users": [3] }));
    assert_eq!(ana.text().await, EVENT);
}
