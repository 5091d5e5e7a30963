//! Clients that read slowly: the application is done with them at its own speed.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::fastcgi::{FastCgiRequest, buffered_bytes, edge_before, end, record, stdout};
use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect, get};
use crate::support::program::Program;

mod aborts;
mod exempt;

/// More than kernel, hyper and the edge's memory hold for a client that does not read.
const LENGTH: usize = 16 << 20;
const WORKERS: usize = 2;
const PIECE: usize = 32 * 1024;

/// Fails instead of waiting for ever.
async fn within_deadline<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(60), work).await;
    done.expect("somebody waits for a client that does not read")
}

/// Bytes of which none can be lost or doubled unseen.
fn content(from: usize, length: usize) -> Vec<u8> {
    let byte = |at: usize| (at ^ (at >> 8) ^ (at >> 16)).wrapping_mul(31) as u8;
    (from..from + length).map(byte).collect()
}

fn assert_whole(got: &[u8]) {
    assert_eq!(got.len(), LENGTH);
    assert!(got == content(0, LENGTH), "other bytes");
}

/// A php-fpm with few processes, each of which is occupied until the edge closes its
/// connection. `/export` is long, all else short.
async fn edge_before_workers(workers: usize, more: &str) -> Edge {
    let idle = Arc::new(Semaphore::new(workers));
    let url = scripted(move |_, mut stream| {
        let idle = Arc::clone(&idle);
        async move {
            let _process = idle.acquire().await.unwrap();
            let Some(request) = FastCgiRequest::read(&mut stream).await else {
                return;
            };
            if request.params["REQUEST_URI"] == "/export" {
                let head = format!("X-A: b\r\nContent-Length: {LENGTH}\r\n\r\n");
                let _ = stream.write_all(&stdout(&head)).await;
                let _ = write_export(
                    &mut stream,
                    |piece| record(6, &piece, 0),
                    &AtomicU64::new(0),
                )
                .await;
            } else {
                let _ = stream.write_all(&stdout("X-A: b\r\n\r\nshort")).await;
            }
            let _ = stream.write_all(&end(0)).await;
            let _ = stream.read(&mut [0]).await;
        }
    });
    edge_before(&url.await, more)
}

async fn write_export(
    stream: &mut TcpStream,
    wrapped: impl Fn(Vec<u8>) -> Vec<u8>,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    for from in (0..LENGTH).step_by(PIECE) {
        stream.write_all(&wrapped(content(from, PIECE))).await?;
        sent.fetch_add(PIECE as u64, SeqCst);
    }
    Ok(())
}

/// An HTTP server that counts the bytes of its only response, whose head ends with
/// `lines`; `released` once it is sent to its end.
async fn counting_server(lines: &'static str) -> (String, Arc<AtomicU64>, Arc<Notify>) {
    let (sent, released) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let (count, done) = (Arc::clone(&sent), Arc::clone(&released));
    let url = scripted(move |_, mut stream| {
        let (sent, released) = (Arc::clone(&count), Arc::clone(&done));
        async move {
            head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n{lines}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            if write_export(&mut stream, |piece| piece, &sent)
                .await
                .is_ok()
            {
                released.notify_one();
                let _ = stream.read(&mut [0]).await;
            }
        }
    });
    (url.await, sent, released)
}

/// A client whose window is smaller than any response here.
async fn http2_with_window(edge: &Edge, window: u32) -> Client {
    let stream = TokioIo::new(connect(edge, "h2").await.unwrap());
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    Client::Http2(sender)
}

async fn fetch_head(client: &mut Client, path: &str) -> Response<Incoming> {
    let answer = within_deadline(client.send(get(path).body(body("")).unwrap())).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer
}

async fn read_rest(answer: Response<Incoming>) -> Bytes {
    within_deadline(answer.into_body().collect())
        .await
        .unwrap()
        .to_bytes()
}

/// Waits until the edge logs that it cannot buffer a response.
async fn wait_until_full(program: &Program) {
    let is_full = |line: &serde_json::Value| line["event"] == "response_buffer_full";
    within_deadline(program.logged(is_full)).await;
}

/// Waits until the application cannot send any more. On a slow machine it may only pause.
async fn wait_until_blocked(sent: &AtomicU64) -> u64 {
    let mut last = u64::MAX;
    while sent.load(SeqCst) != last {
        last = sent.load(SeqCst);
        // That nothing comes any more has no event.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_leave_workers_and_request_slots_to_others() {
    let edge = edge_before_workers(WORKERS, "[limits]\nmax_requests_in_flight = 2\n").await;
    let mut held = Vec::new();
    for _ in 0..WORKERS {
        for mut client in [
            Client::http1(&edge).await,
            http2_with_window(&edge, 1000).await,
        ] {
            let answer = fetch_head(&mut client, "/export").await;
            held.push((client, answer));
        }
    }
    // Its window is closed from the first byte on.
    let mut closed = http2_with_window(&edge, 0).await;
    for path in ["/export", "/"] {
        fetch_head(&mut closed, path).await;
    }
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let answer = within_deadline(client.fetch(get("/").body(body("")).unwrap())).await;
        assert_eq!(answer.text(), "short");
    }
    assert!(buffered_bytes(&edge).await > 0);
    for (_client, answer) in held {
        assert_whole(&read_rest(answer).await);
    }
}

/// More than the client may have buffered: a few of its responses may occupy processes,
/// for a while, and the others end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_with_its_buffer_share_used_frees_the_workers() {
    let edge = edge_before_workers(
        5,
        "disk_buffer_size = \"64 MiB\"\n[http]\nmax_body_size = \"12 MiB\"\n",
    )
    .await;
    let mut slow = http2_with_window(&edge, 1000).await;
    let mut held = Vec::new();
    for _ in 0..30 {
        // As many at once as there are processes, and many more behind them.
        let request = get("/export").body(body("")).unwrap();
        held.push(within_deadline(slow.send(request)).await.unwrap());
    }
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let answer = within_deadline(client.fetch(get("/").body(body("")).unwrap())).await;
        assert_eq!(answer.text(), "short");
    }
    // What was given up does not look whole.
    let last = held.pop().unwrap().into_body();
    assert!(within_deadline(last.collect()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_connection_is_free_before_the_client_has_read() {
    let (url, _, released) = counting_server("").await;
    let edge = Edge::configured(&url, "");
    for mut client in [
        Client::http1(&edge).await,
        http2_with_window(&edge, 1000).await,
    ] {
        let answer = fetch_head(&mut client, "/").await;
        within_deadline(released.notified()).await;
        assert_whole(&read_rest(answer).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_waits_without_data_loss_if_the_buffer_is_full() {
    for more in [
        "disk_buffer_size = \"1 KiB\"\n",
        "response_buffer_size = \"128 KiB\"\n",
        "response_buffer_size = \"0\"\n",
    ] {
        let (url, sent, _) = counting_server("").await;
        let program = Program::before(&url, more);
        let mut client = program.http1().await;
        let answer = fetch_head(&mut client, "/").await;
        let is_reported = more.starts_with("disk_buffer_size");
        if is_reported {
            wait_until_full(&program).await;
        }
        assert!(wait_until_blocked(&sent).await < LENGTH as u64, "{more}");
        assert_whole(&read_rest(answer).await);
        let full = program.events("response_buffer_full").len();
        assert_eq!(full, usize::from(is_reported), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_waits_without_data_loss_if_tmpdir_is_missing() {
    use crate::support::program::Home;
    let (url, sent, _) = counting_server("").await;
    let home = Home::new(&url, ([127, 0, 0, 1], 0).into(), "");
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    command.env("TMPDIR", home.path("missing"));
    let program = Program::start(&home, command);
    let reported = program.events("upstream_needs_attention");
    let detail = reported[0]["detail"].as_str().unwrap();
    assert!(detail.contains("set TMPDIR to a directory"), "{detail}");
    let mut client = program.http1().await;
    let answer = fetch_head(&mut client, "/").await;
    wait_until_full(&program).await;
    assert!(wait_until_blocked(&sent).await < LENGTH as u64);
    assert_eq!(program.events("response_buffer_full").len(), 1);
    let problems = program.status().await["problems"].to_string();
    assert!(
        problems.contains("upstream laravel: cannot keep responses on disk"),
        "{problems}"
    );
    assert_whole(&read_rest(answer).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buffered_responses_survive_reload_and_shutdown() {
    let (url, _, released) = counting_server("").await;
    let edge = Edge::configured(&url, "");
    let mut held = Vec::new();
    for mut client in [
        Client::http1(&edge).await,
        http2_with_window(&edge, 1000).await,
    ] {
        let answer = fetch_head(&mut client, "/").await;
        within_deadline(released.notified()).await;
        held.push((client, answer));
    }
    let reloaded = edge.reload_with(|config| {
        config.upstream.response_buffer_size = "1 MiB".to_owned().try_into().unwrap();
    });
    assert_eq!(reloaded.await.unwrap(), [""; 0]);
    let stopped = edge.stop();
    for (_client, answer) in held {
        assert_whole(&read_rest(answer).await);
    }
    assert_eq!(
        within_deadline(stopped).await.unwrap(),
        0,
        "something was cut off"
    );
}
