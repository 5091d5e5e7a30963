//! Tests of bodies that are not read to their end, over an in-memory pipe and in paused time.

use std::convert::Infallible;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::core::body;
use crate::http::h2_frame::{self, END_HEADERS, END_STREAM, HEADERS, RST_STREAM};

/// The client's side of a connection whose server rejects each request without reading its
/// body.
struct Client {
    pipe: DuplexStream,
    activity: ActivityTracker,
}

impl Client {
    fn connect(version: Version) -> Self {
        let (pipe, server) = tokio::io::duplex(1024 * 1024);
        let (activity, drain) = (ActivityTracker::new(), Drain::new());
        let (tracker, spawner) = (activity.clone(), drain.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let request = RequestBody::wrap(request, &tracker, &spawner);
            async move {
                let mut response = Response::new(body::full(""));
                *response.status_mut() = StatusCode::FORBIDDEN;
                drop(request);
                Ok::<_, Infallible>(response)
            }
        });
        let io = TokioIo::new(server);
        if version == Version::HTTP_2 {
            drain.spawn(http2::Builder::new(drain.clone()).serve_connection(io, service));
        } else {
            let mut builder = http1::Builder::new();
            drain.spawn(
                builder
                    .timer(TokioTimer::new())
                    .serve_connection(io, service),
            );
        }
        Self { pipe, activity }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.unwrap();
    }

    /// Reads the head of a response.
    async fn expect_rejection(&mut self) {
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            assert!(self.pipe.read_buf(&mut got).await.unwrap() > 0);
        }
        assert!(got.starts_with(b"HTTP/1.1 403 "), "{got:?}");
    }

    /// Reads a frame of HTTP/2. Returns its type, its flags and its stream.
    async fn frame(&mut self) -> (u8, u8, u32) {
        let mut header = [0; 9];
        self.pipe.read_exact(&mut header).await.unwrap();
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.pipe.read_exact(&mut vec![0; length]).await.unwrap();
        (kind, flags, u32::from_be_bytes(stream))
    }

    /// Reads frames up to the end of the response on stream 1.
    async fn expect_response_end(&mut self) {
        loop {
            let (kind, flags, stream) = self.frame().await;
            assert_ne!(kind, RST_STREAM, "the reset comes before the response");
            if stream == 1 && flags & END_STREAM != 0 {
                return;
            }
        }
    }
}

fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn short_rest_of_a_body_is_dropped_and_the_connection_kept() {
    let mut client = Client::connect(Version::HTTP_11);
    for _ in 0..3 {
        client.send(post("Content-Length: 200").as_bytes()).await;
        client.expect_rejection().await;
        for _ in 0..2 {
            assert!(client.activity.is_active(), "it counts as idle");
            tokio::time::sleep(DROP_IDLE_TIMEOUT - Duration::from_millis(1)).await;
            client.send(&[b'x'; 100]).await;
        }
    }
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.expect_rejection().await;
    assert!(!client.activity.is_active());
}

#[tokio::test(start_paused = true)]
async fn rest_of_a_body_that_does_not_arrive_closes_the_connection() {
    // Nothing more, a byte now and then, and a rest that is too long to be read.
    for (length, drips, expected) in [
        (200, false, DROP_IDLE_TIMEOUT),
        (200, true, DROP_TIMEOUT),
        (MAX_DROPPED_BYTES + 1, false, Duration::ZERO),
    ] {
        let mut client = Client::connect(Version::HTTP_11);
        let start = Instant::now();
        client
            .send(post(&format!("Content-Length: {length}")).as_bytes())
            .await;
        client.expect_rejection().await;
        let mut rest = Vec::new();
        let (mut from, mut to) = tokio::io::split(client.pipe);
        let drip = async {
            if !drips {
                std::future::pending::<()>().await;
            }
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = to.write_all(b"x").await;
            }
        };
        tokio::select! {
            read = from.read_to_end(&mut rest) => assert_eq!(read.unwrap(), 0),
            () = drip => {}
        }
        assert_eq!(start.elapsed(), expected, "{length} {drips}");
        assert!(client.activity.is_active(), "it counts as idle");
    }
}

#[tokio::test(start_paused = true)]
async fn http1_connection_ends_after_a_response_with_a_long_or_unknown_rest() {
    for (lines, ends) in [
        ("Content-Length: 0", false),
        ("Content-Length: 262144", false),
        ("Content-Length: 262145", true),
        ("Transfer-Encoding: chunked", true),
        ("Content-Length: 5\r\nExpect: 100-continue", true),
    ] {
        let (mut client, server) = tokio::io::duplex(1024);
        let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            let request = RequestBody::wrap(request, &ActivityTracker::new(), &Drain::new());
            let unread = request.body().unread_bytes();
            // Whoever reads it will read it to its end.
            assert!(!unread.end_connection());
            drop(request);
            seen.send(unread.end_connection()).unwrap();
            async { Ok::<_, Infallible>(Response::new(body::empty())) }
        });
        client.write_all(post(lines).as_bytes()).await.unwrap();
        let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        Drain::new().spawn(connection);
        assert_eq!(requests.recv().await, Some(ends), "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn reset_of_an_http2_stream_follows_its_response_later() {
    // Nothing more, and more than the edge reads.
    for body in [&[][..], &frame(DATA, 0, &[0; 16_000]).repeat(20)] {
        let mut client = Client::connect(Version::HTTP_2);
        let start = Instant::now();
        client.send(&open_post()).await;
        client.expect_response_end().await;
        client.send(body).await;
        while client.frame().await.0 != RST_STREAM {}
        assert_eq!(start.elapsed(), RESET_DELAY);
        assert!(!client.activity.is_active());
    }
}

#[tokio::test(start_paused = true)]
async fn http2_body_that_ends_soon_is_not_reset() {
    let mut client = Client::connect(Version::HTTP_2);
    client.send(&open_post()).await;
    client.expect_response_end().await;
    tokio::time::sleep(RESET_DELAY / 2).await;
    client.send(&frame(DATA, END_STREAM, &[0; 37])).await;
    tokio::time::sleep(RESET_DELAY).await;
    client.send(&frame(PING, 0, &[0; 8])).await;
    loop {
        let (kind, flags, _) = client.frame().await;
        assert_ne!(kind, RST_STREAM);
        if (kind, flags) == (PING, ACK) {
            return;
        }
    }
}

/// Returns the beginning of an HTTP/2 connection, and a POST without its body.
fn open_post() -> Vec<u8> {
    // POST https://a/ (RFC 7541, Appendix A).
    let head = [0x83, 0x87, 0x84, 0x41, 1, b'a'];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = [0, ACK].map(|flags| [0, 0, 0, SETTINGS, flags, 0, 0, 0, 0]);
    let head = frame(HEADERS, END_HEADERS, &head);
    [preface, settings.concat(), head].concat()
}

/// Returns a frame of stream 1, or of the connection for a PING.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    h2_frame::frame(kind, flags, u32::from(kind != PING), payload)
}

/// More types and a flag of frames (RFC 9113 §6).
const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
