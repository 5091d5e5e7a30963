//! Clients that ask and do not take what they get, while they do other things on the
//! same connection: their streams end, and what those held is free for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;

use super::http2::{DATA, HEADERS, PREFACE, SETTINGS, frame, post, request};
use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect, get};
use crate::support::{Edge, Laravel};

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

/// hyper has handed over the whole response, of which the client takes one byte.
#[tokio::test]
async fn unread_rest_of_a_response_ends_its_connection() {
    let upstream = workers(1).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    let mut attacker = RawHttp2::connect(&edge, 1).await;
    attacker.send_request(1, "/").await;
    let (mut warned, mut ended) = (false, false);
    let attack = async {
        attacker
            .send_cheap_requests(3, &[], |frame| {
                warned |= frame.kind == GOAWAY;
                false
            })
            .await;
        ended = true;
    };
    within_deadline(attack).await;
    assert!(warned && ended);
}

/// Windows are open, but the client reads nothing from the socket during an upload.
#[tokio::test]
async fn blocked_socket_ends_its_connection() {
    let upstream = workers(2).await;
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}");
    let edge = Edge::configured("", &text);
    let attack = async {
        let mut attacker = RawHttp2::connect(&edge, 1 << 30).await;
        let all = frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        let upload = frame(HEADERS, 0x4, 1, &post("/upload"));
        attacker
            .to
            .write_all(&[all, upload].concat())
            .await
            .unwrap();
        for stream in 1..50 {
            attacker.send_request(2 * stream + 1, "/export/1").await;
        }
        let piece = frame(DATA, 0, 1, &[b'x'; 100]);
        while attacker.to.write_all(&piece).await.is_ok() {
            // The attack itself, not a wait for anything.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within_deadline(async { tokio::join!(attack, fetch_until_ok(&edge, "/")) }).await;
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
    let mut client = RawHttp2::connect(&edge, 65_535).await;
    client.send_request(1, "/export/1").await;
    let RawHttp2 { mut to, mut from } = client;
    let mut got = 0;
    let reading = async {
        loop {
            let mut head = [0; 9];
            from.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            from.read_exact(&mut vec![0; length as usize])
                .await
                .unwrap();
            assert_ne!(head[3], RESET);
            if head[3] != 0 || length == 0 {
                continue;
            }
            got += length;
            if got == 3_000_000 {
                return;
            }
            // So the whole takes longer than a stream may stand still.
            tokio::time::sleep(Duration::from_millis(30)).await;
            for stream in [0, 1] {
                let more = frame(WINDOW_UPDATE, 0, stream, &length.to_be_bytes());
                to.write_all(&more).await.unwrap();
            }
        }
    };
    within_deadline(reading).await;
}

/// Half of the places at the app are not for one client.
#[tokio::test]
async fn client_does_not_hold_all_workers() {
    let upstream = workers(4).await;
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [upstream]\nurl = \"{upstream}\"\nmax_connections = 4\n{}",
        SHORT_TIMEOUTS
            .replace("\"3s\"", "\"600s\"")
            .replace("\"2500ms\"", "\"500s\"")
    );
    let edge = Edge::configured("", &text);
    let mut attacker = RawHttp2::connect(&edge, 0).await;
    for stream in 0..8 {
        attacker
            .send_request(2 * stream + 1, &format!("/export/{stream}"))
            .await;
    }
    let attack = attacker.send_cheap_requests(17, &[], |_| false);
    let mut other = Client::http1(&edge).await;
    let request = get("/").header("x-forwarded-for", "198.51.100.7");
    let served = within_deadline(other.fetch(request.body(body("")).unwrap()));
    tokio::select! {
        () = attack => panic!("its connection goes on"),
        answer = served => assert_eq!(answer.status, StatusCode::OK),
    }
}

/// Asks for 70 compressed responses and takes none of them.
async fn occupy_encoders(edge: &Edge) -> RawHttp2 {
    let mut attacker = RawHttp2::connect(edge, 0).await;
    let accepts = [&[0, 15][..], b"accept-encoding", &[4], b"gzip"].concat();
    for stream in 0..70 {
        let block = [request("/export"), accepts.clone()].concat();
        let headers = frame(HEADERS, 0x5, 2 * stream + 1, &block);
        attacker.to.write_all(&headers).await.unwrap();
    }
    let mut begun = 0;
    while begun < 70 {
        let frame = Frame::read(&mut attacker.from).await.unwrap();
        begun += usize::from(frame.kind == HEADERS);
    }
    attacker
}

/// Returns whether the response is compressed: for `client` behind a proxy, or without one.
async fn is_compressed(edge: &Edge, client: Option<&str>) -> bool {
    let mut request = get("/export").header("accept-encoding", "gzip");
    if let Some(client) = client {
        request = request.header("x-forwarded-for", client);
    }
    let mut connection = Client::http1(edge).await;
    let answer = connection.send(request.body(body("")).unwrap()).await;
    answer.unwrap().headers().contains_key("content-encoding")
}

#[tokio::test]
async fn client_does_not_hold_all_encoders() {
    let upstream = workers(100).await;
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [upstream]\nurl = \"{upstream}\"\n{}",
        SHORT_TIMEOUTS
            .replace("\"3s\"", "\"600s\"")
            .replace("\"2500ms\"", "\"500s\"")
    );
    let edge = Edge::configured("", &text);
    let _attacker = within_deadline(occupy_encoders(&edge)).await;
    assert!(!is_compressed(&edge, None).await, "it has its share");
    assert!(is_compressed(&edge, Some("198.51.100.7")).await);
}

#[tokio::test]
async fn encoders_of_unread_responses_are_freed() {
    let upstream = workers(100).await;
    let allow = "[limits]\nexempt = [\"127.0.0.1\"]\n";
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}{allow}");
    let edge = Edge::configured("", &text);
    let attacker = within_deadline(occupy_encoders(&edge)).await;
    let attack = attacker.send_cheap_requests(141, &[], |_| false);
    let back = within_deadline(async { while !is_compressed(&edge, None).await {} });
    tokio::select! {
        () = attack => panic!("its connection goes on"),
        () = back => {}
    }
}

/// If the edge rejects all requests of a connection, it says so and closes it.
#[tokio::test]
async fn connection_with_many_rejected_requests_is_closed() {
    let limits = "[limits]\nrequests_per_second = 1\nrequest_burst = 1\n";
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), limits);
    let mut attacker = RawHttp2::connect(&edge, 65_535).await;
    for stream in 0..1000 {
        let headers = frame(HEADERS, 0x5, 2 * stream + 1, &request("/"));
        if attacker.to.write_all(&headers).await.is_err() {
            break;
        }
    }
    let (mut warned, mut frames) = (false, 0);
    let attack = attacker.send_cheap_requests(2001, &[], |frame| {
        warned |= frame.kind == GOAWAY;
        frames += 1;
        false
    });
    within_deadline(attack).await;
    assert!(warned && frames > 200, "{warned} {frames}");
    // Over HTTP/1.1 the last response announces the close.
    let mut client = Client::http1(&edge).await;
    let mut refused = 0;
    let last = within_deadline(async {
        loop {
            let answer = client.fetch(get("/").body(body("")).unwrap()).await;
            if answer.headers.contains_key("connection") {
                return answer;
            }
            refused += 1;
        }
    });
    assert_eq!(last.await.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused >= 200, "{refused}");
}

/// One end of a tunnel sends, but reads nothing.
#[tokio::test]
async fn tunnel_with_a_stalled_end_is_closed() {
    let upstream = scripted(|_, mut stream| async move {
        let _ = head(&mut stream).await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let _ = stream.write_all(switch.as_bytes()).await;
        let (mut from, mut to) = stream.split();
        let flood = async { while to.write_all(&[b'x'; 65_536]).await.is_ok() {} };
        let mut sink = tokio::io::sink();
        let _ = tokio::join!(flood, tokio::io::copy(&mut from, &mut sink));
    })
    .await;
    let route = "[[routes]]\npath = \"/app\"\npass_upgrades = true\n";
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}{route}");
    let edge = Edge::configured("", &text);
    let mut client = connect(&edge, "http/1.1").await.unwrap();
    let ask = "GET /app HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
               Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 101");
    within_deadline(async {
        while client.write_all(b"more").await.is_ok() {
            // The attack itself, not a wait for anything.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
