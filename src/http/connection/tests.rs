//! Tests of idle HTTP/1.1 connections and of dismissal, over an in-memory pipe and in
//! paused time.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;

use super::driver::{DISMISSAL_GRACE, Dismissal};
use super::*;
use crate::core::body;
use crate::http::keep_alive::MIN_IDLE_TIME;
use crate::runtime::activity::ActivityTracker;

/// The client side of a connection that a driver serves.
struct Client {
    pipe: DuplexStream,
    retired: CancellationToken,
    /// The size of the buffer of the server's last read.
    wanted: Arc<AtomicUsize>,
    served: JoinHandle<()>,
}

/// A stream that records the size of each read buffer.
struct Noting(DuplexStream, Arc<AtomicUsize>);

impl Client {
    /// Connects to a server whose responses have `size` bytes.
    #[expect(clippy::disallowed_methods, reason = "there is no drain here")]
    fn connect(pipe: usize, size: usize) -> Self {
        let (near, far) = tokio::io::duplex(pipe);
        let (wanted, retired) = (Arc::default(), CancellationToken::new());
        let (io, token) = (Noting(far, Arc::clone(&wanted)), retired.clone());
        let served = tokio::spawn(async move {
            let (activity, settings) = (ActivityTracker::new(), Settings::default());
            let driver = ConnDriver {
                settings: &settings,
                activity: activity.clone(),
                rejections: Arc::default(),
                alpn: Alpn::Http1,
                request_begun: Arc::default(),
                retired: token,
            };
            let service = service_fn(move |_: Request<Incoming>| {
                drop(activity.begin_exchange());
                async move { Ok::<_, Infallible>(Response::new(body::full(vec![b'x'; size]))) }
            });
            let upgrade = RejectedUpgrade::default();
            driver.serve_http1(io, service, upgrade, |_| {}).await;
        });
        Self {
            pipe: near,
            retired,
            wanted,
            served,
        }
    }

    async fn say(&mut self, text: &str) {
        self.pipe.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads one response with a body of `size` bytes.
    async fn hear(&mut self, size: usize) {
        let mut got = Vec::new();
        while !got.ends_with(&vec![b'x'; size]) {
            assert!(self.pipe.read_buf(&mut got).await.unwrap() > 0);
        }
        assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }

    /// Waits for the end of the connection. Returns the time until then.
    async fn ended(self) -> Duration {
        self.ended_after("").await
    }

    /// As [`Client::ended`], with a last response that begins with `status_line`.
    async fn ended_after(mut self, status_line: &str) -> Duration {
        let start = tokio::time::Instant::now();
        let mut rest = Vec::new();
        // A connection that breaks off is over, too.
        let _ = self.pipe.read_to_end(&mut rest).await;
        let elapsed = start.elapsed();
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.starts_with(status_line), "{rest}");
        assert_eq!(rest.is_empty(), status_line.is_empty(), "{rest}");
        // The connection lingers until the client closes it, too.
        drop(self.pipe);
        self.served.await.unwrap();
        elapsed
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connection_keeps_no_buffers_and_serves_again() {
    let mut client = Client::connect(1024, 3);
    for _ in 0..3 {
        client.say(REQUEST).await;
        client.hear(3).await;
        tokio::time::sleep(MS).await;
        assert!(client.wanted.load(Relaxed) > 4096, "hyper does not read");
        tokio::time::sleep(MIN_IDLE_TIME * 3).await;
        assert_eq!(client.wanted.load(Relaxed), 1024, "hyper still reads");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_closed_after_the_idle_timeout() {
    let mut client = Client::connect(1024, 3);
    client.say(REQUEST).await;
    client.hear(3).await;
    assert_eq!(client.ended().await, IDLE);
}

#[tokio::test(start_paused = true)]
async fn connection_without_a_request_is_closed_after_the_header_timeout() {
    assert_eq!(Client::connect(1024, 3).ended().await, HEADER);
    // A first byte does not extend it.
    let mut client = Client::connect(1024, 3);
    tokio::time::sleep(HEADER / 2).await;
    client.say(PARTIAL).await;
    assert_eq!(client.ended_after(TIMED_OUT).await, HEADER / 2);
}

/// The time runs from the first byte: while hyper's connection exists, after that, and
/// shortly before the idle timeout.
#[tokio::test(start_paused = true)]
async fn used_connection_with_a_partial_head_is_closed_after_the_header_timeout() {
    let almost_idle = IDLE - Duration::from_secs(1);
    for rest in [MIN_IDLE_TIME / 2, 5 * MIN_IDLE_TIME, almost_idle] {
        let mut client = Client::connect(1024, 3);
        client.say(REQUEST).await;
        client.hear(3).await;
        tokio::time::sleep(rest).await;
        client.say(PARTIAL).await;
        assert_eq!(client.ended_after(TIMED_OUT).await, HEADER, "{rest:?}");
    }
}

/// hyper has read the head already, so the time runs from the next hyper connection.
#[tokio::test(start_paused = true)]
async fn partial_head_sent_with_a_request_is_closed_after_the_header_timeout() {
    let mut client = Client::connect(1024, 3);
    client.say(&format!("{REQUEST}{PARTIAL}")).await;
    client.hear(3).await;
    let lasted = client.ended_after(TIMED_OUT).await;
    let expected = HEADER..HEADER + 3 * MIN_IDLE_TIME;
    assert!(expected.contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn slow_heads_within_the_header_timeout_are_served() {
    let mut client = Client::connect(1024, 3);
    let (head, tail) = REQUEST.split_at(9);
    for _ in 0..3 {
        client.say(head).await;
        tokio::time::sleep(HEADER - MIN_IDLE_TIME).await;
        client.say(tail).await;
        client.hear(3).await;
        tokio::time::sleep(MIN_IDLE_TIME / 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_the_next_request_sent_early_are_kept() {
    let mut client = Client::connect(1024, 3);
    let (head, tail) = REQUEST.split_at(9);
    client.say(&format!("{REQUEST}{head}")).await;
    client.hear(3).await;
    tokio::time::sleep(MIN_IDLE_TIME * 4).await;
    client.say(tail).await;
    client.hear(3).await;
}

#[tokio::test(start_paused = true)]
async fn connection_with_a_slowly_read_response_is_not_idle() {
    let size = 100_000;
    let mut client = Client::connect(1000, size);
    client.say(REQUEST).await;
    tokio::time::sleep(MIN_IDLE_TIME * 10).await;
    client.hear(size).await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_of_a_retired_config_is_closed_at_once() {
    let mut client = Client::connect(1024, 3);
    client.say(REQUEST).await;
    client.hear(3).await;
    tokio::time::sleep(MIN_IDLE_TIME * 3).await;
    client.retired.cancel();
    assert_eq!(client.ended().await, Duration::ZERO);
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.store(buf.remaining(), Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: desk.example\r\n\r\n";
const TIMED_OUT: &str = "HTTP/1.1 408 ";
const PARTIAL: &str = "GET / HTTP/1.1\r\nHo";
/// The defaults of `header_timeout` and `idle_timeout`.
const HEADER: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(75);
const MS: Duration = Duration::from_millis(1);

/// Returns the driver of an HTTP/2 connection, without the connection itself.
fn driver(settings: &Settings) -> ConnDriver<'_> {
    ConnDriver {
        settings,
        activity: ActivityTracker::new(),
        rejections: Arc::default(),
        alpn: Alpn::Http2,
        request_begun: Arc::default(),
        retired: CancellationToken::new(),
    }
}

/// The end of a response is still being sent although its exchange is over.
#[tokio::test(start_paused = true)]
async fn http2_connection_with_an_unsent_response_is_not_idle() {
    let settings = Settings::default();
    let (idle, stall) = (Duration::from_secs(20), settings.stream_idle_timeout.get());
    for (has_rest, limit) in [(false, idle), (true, stall)] {
        let driver = driver(&settings);
        let clock = Arc::new(SendClock::new(driver.activity.clone()));
        let rest = has_rest.then(|| clock.chunk(vec![0; 10].into()));
        let start = tokio::time::Instant::now();
        driver.stalled(|| idle, Duration::ZERO).await;
        assert_eq!(start.elapsed(), limit);
        drop(rest);
    }
}

/// Admitted requests continue, under timeouts of their own.
#[tokio::test(start_paused = true)]
async fn dismissed_connection_finishes_requests_in_flight() {
    let settings = Settings::default();
    let driver = driver(&settings);
    let download = driver.activity.begin_exchange();
    let hour = Duration::from_secs(3600);
    let end = driver.dismissal_ended(Dismissal::Rejected);
    let ended = tokio::time::timeout(hour, end).await;
    assert!(ended.is_err());
    drop(download);
    let start = tokio::time::Instant::now();
    driver.dismissal_ended(Dismissal::Rejected).await;
    assert_eq!(start.elapsed(), DISMISSAL_GRACE);
}
