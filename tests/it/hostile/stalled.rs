//! Clients that ask and do not take what they get, while they do other things on the
//! same connection: their streams end, and what those held is free for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::http2::{DATA, HEADERS, PREFACE, SETTINGS, frame, request};
use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect, get};

mod connections;
mod workers;

const RESET: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Deadlines that a test can wait for, and a request that costs nothing.
const SHORT_TIMEOUTS: &str = "response_timeout = \"2500ms\"\n[http]\nstream_idle_timeout = \"3s\"\n\
                     [[routes]]\npath = \"/cheap\"\nredirect = \"https://localhost\"\n";
/// By when all must have happened, on a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// An app with so many workers, as php-fpm has: each serves one connection, with a
/// response of 3 MB to `/export` and a short one to all else; of a `POST` it reads all.
async fn workers(count: usize) -> String {
    let workers = Arc::new(Semaphore::new(count));
    scripted(move |_, mut stream| {
        let workers = Arc::clone(&workers);
        async move {
            let _worker = workers.acquire().await.unwrap();
            let head = head(&mut stream).await;
            if head.starts_with("POST ") {
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                return;
            }
            let length = if head.starts_with("GET /export") {
                3_000_000
            } else {
                5
            };
            let response = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\
                 content-length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(response.as_bytes()).await;
            let _ = stream.write_all(&vec![b'x'; length]).await;
        }
    })
    .await
}

/// An HTTP/2 connection of which the test writes each frame.
struct RawHttp2 {
    to: WriteHalf<TlsStream<TcpStream>>,
    from: ReadHalf<TlsStream<TcpStream>>,
}

impl RawHttp2 {
    /// One whose streams have `window` bytes each.
    async fn connect(edge: &Edge, window: u32) -> Self {
        let (from, mut to) = tokio::io::split(connect(edge, "h2").await.unwrap());
        let window = [&[0, 4][..], &window.to_be_bytes()].concat();
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &window)].concat();
        to.write_all(&begin).await.unwrap();
        Self { to, from }
    }

    async fn send_request(&mut self, stream: u32, path: &str) {
        let headers = frame(HEADERS, 0x5, stream, &request(path));
        self.to.write_all(&headers).await.unwrap();
    }

    /// Asks for something cheap again and again, and sends `also` each time, while
    /// frames are read; `until` says which frame is the last.
    async fn send_cheap_requests(
        self,
        mut number: u32,
        also: &[u8],
        mut until: impl FnMut(&Frame) -> bool,
    ) {
        let Self { mut to, mut from } = self;
        let asking = async {
            loop {
                let cheap = frame(HEADERS, 0x5, number, &request("/cheap"));
                number += 2;
                if to.write_all(&[&cheap, also].concat()).await.is_err() {
                    break;
                }
                // The attack itself, not a wait for anything.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            while let Some(frame) = Frame::read(&mut from).await {
                if until(&frame) {
                    return;
                }
            }
        };
        tokio::select! {
            () = asking => {}
            () = reading => {}
        }
    }
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    length: u32,
}

impl Frame {
    async fn read(from: &mut ReadHalf<TlsStream<TcpStream>>) -> Option<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload).await.ok()?;
        Some(Self {
            kind: head[3],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            length,
        })
    }
}

/// Sends requests until one gets 200.
async fn fetch_until_ok(edge: &Edge, path: &str) {
    loop {
        let mut client = Client::http1(edge).await;
        // While nothing is free, the edge rejects the request or aborts its response.
        let answer = client.send(get(path).body(body("")).unwrap()).await;
        if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            return;
        }
    }
}

async fn within_deadline<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("it comes to its end")
}

#[tokio::test]
async fn unread_streams_are_reset_and_their_connection_stays() {
    let upstream = workers(8).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    let mut attacker = RawHttp2::connect(&edge, 0).await;
    for stream in 0..8 {
        attacker
            .send_request(2 * stream + 1, &format!("/export/{stream}"))
            .await;
    }
    let reset = AtomicUsize::new(0);
    let attack = attacker.send_cheap_requests(17, &[], |frame| {
        assert_ne!(frame.kind, GOAWAY);
        if frame.kind == RESET && frame.stream < 17 {
            reset.fetch_add(1, SeqCst);
        }
        // Something cheap is still answered after that.
        frame.kind == HEADERS && frame.stream > 17 && reset.load(SeqCst) == 8
    });
    within_deadline(async { tokio::join!(attack, fetch_until_ok(&edge, "/")) }).await;
    assert_eq!(reset.load(SeqCst), 8);
}

#[tokio::test]
async fn tiny_window_updates_do_not_keep_a_stream_open() {
    let upstream = workers(1).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    let mut attacker = RawHttp2::connect(&edge, 1).await;
    attacker.send_request(1, "/export/1").await;
    let drop = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    let mut reset = false;
    let attack = attacker.send_cheap_requests(3, &drop, |frame| {
        reset |= frame.kind == RESET && frame.stream == 1;
        reset
    });
    within_deadline(async { tokio::join!(attack, fetch_until_ok(&edge, "/")) }).await;
    assert!(reset);
}

/// The connection's window, which all streams share, stays shut.
#[tokio::test]
async fn closed_connection_window_does_not_keep_streams_open() {
    let upstream = workers(4).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    let mut attacker = RawHttp2::connect(&edge, 16 * 1024 * 1024).await;
    for stream in 0..4 {
        attacker
            .send_request(2 * stream + 1, &format!("/export/{stream}"))
            .await;
    }
    let mut reset = 0;
    let attack = attacker.send_cheap_requests(9, &[], |frame| {
        reset += usize::from(frame.kind == RESET && frame.stream < 9);
        reset == 4
    });
    within_deadline(async { tokio::join!(attack, fetch_until_ok(&edge, "/")) }).await;
    assert_eq!(reset, 4);
}

#[tokio::test]
async fn files_of_unread_streams_are_closed() {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("big.bin"), vec![0; 3_000_000]).unwrap();
    std::fs::write(files.path().join("small.txt"), "small").unwrap();
    let text = format!(
        "{SHORT_TIMEOUTS}[[routes]]\npath = \"/\"\nfiles = {:?}\n[limits]\nmax_open_files = 4\n\
         exempt = [\"127.0.0.1\"]\n",
        files.path()
    );
    let edge = Edge::configured("", &format!("[upstream]\n{text}"));
    let mut attacker = RawHttp2::connect(&edge, 0).await;
    for stream in 0..4 {
        attacker.send_request(2 * stream + 1, "/big.bin").await;
    }
    let mut reset = 0;
    let attack = attacker.send_cheap_requests(9, &[], |frame| {
        reset += usize::from(frame.kind == RESET && frame.stream < 9);
        reset == 4
    });
    within_deadline(async { tokio::join!(attack, fetch_until_ok(&edge, "/small.txt")) }).await;
    assert_eq!(reset, 4);
}

/// A client that reads slowly, but reads, gets all of it.
#[tokio::test]
async fn slow_client_that_keeps_reading_gets_everything() {
    let upstream = workers(1).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    within_deadline(async { while !read_slowly(&edge).await {} }).await;
}

/// Reads a response in more time than a stream may stall. Returns false if the edge aborted
/// it after a pause of the client itself, as a slow machine causes it.
async fn read_slowly(edge: &Edge) -> bool {
    let mut client = RawHttp2::connect(edge, 65_535).await;
    client.send_request(1, "/export/1").await;
    let RawHttp2 { mut to, mut from } = client;
    let (mut got, mut longest_pause) = (0, Duration::ZERO);
    while got < 3_000_000 {
        let before = Instant::now();
        let frame = Frame::read(&mut from).await;
        let Some(frame) = frame.filter(|frame| frame.kind != RESET) else {
            assert!(longest_pause > MAX_PAUSE, "aborted after {got} bytes");
            return false;
        };
        if frame.kind == DATA && frame.length > 0 {
            got += frame.length;
            // So the whole takes longer than a stream may stand still.
            tokio::time::sleep(Duration::from_millis(30)).await;
            for stream in [0, 1] {
                let more =
                    super::http2::frame(WINDOW_UPDATE, 0, stream, &frame.length.to_be_bytes());
                let _ = to.write_all(&more).await;
            }
        }
        longest_pause = longest_pause.max(before.elapsed());
    }
    true
}

/// Half of the time that a stream may stall.
const MAX_PAUSE: Duration = Duration::from_millis(1500);
