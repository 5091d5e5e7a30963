//! Tests of idle HTTP/1.1 connections and of dismissal, over an in-memory pipe and in
//! paused time.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;

use super::*;
use crate::core::body;
use crate::runtime::activity::SendClock;

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
            driver.serve_http1(io, service).await;
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

    async fn ended(mut self) -> Duration {
        let start = tokio::time::Instant::now();
        let mut rest = Vec::new();
        // A connection that breaks off is over, too.
        let _ = self.pipe.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
        self.served.await.unwrap();
        start.elapsed()
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
        tokio::time::sleep(keep_alive::MIN_IDLE_TIME * 3).await;
        assert_eq!(client.wanted.load(Relaxed), 1024, "hyper still reads");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_closed_at_its_timeout() {
    let mut client = Client::connect(1024, 3);
    client.say(REQUEST).await;
    client.hear(3).await;
    let rested = client.ended().await;
    assert!(LIMIT <= rested && rested < LIMIT * 5 / 4, "{rested:?}");
}

#[tokio::test(start_paused = true)]
async fn connection_with_a_partial_head_is_not_idle() {
    // Before the first request, while idle, and together with a request.
    for (before, rest) in [("", 0), (REQUEST, 5), (REQUEST, 0)] {
        let mut client = Client::connect(1024, 3);
        client.say(before).await;
        if rest > 0 {
            client.hear(3).await;
            tokio::time::sleep(Duration::from_secs(rest)).await;
        }
        client.say("GET / HTTP/1.1\r\nHo").await;
        if rest == 0 && !before.is_empty() {
            client.hear(3).await;
        }
        let lasted = client.ended().await;
        assert!(LIMIT <= lasted && lasted < LIMIT * 5 / 4, "{lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_the_next_request_sent_early_are_kept() {
    let mut client = Client::connect(1024, 3);
    let (head, tail) = REQUEST.split_at(9);
    client.say(&format!("{REQUEST}{head}")).await;
    client.hear(3).await;
    tokio::time::sleep(keep_alive::MIN_IDLE_TIME * 4).await;
    client.say(tail).await;
    client.hear(3).await;
}

#[tokio::test(start_paused = true)]
async fn connection_with_a_slowly_read_response_is_not_idle() {
    let size = 100_000;
    let mut client = Client::connect(1000, size);
    client.say(REQUEST).await;
    tokio::time::sleep(keep_alive::MIN_IDLE_TIME * 10).await;
    client.hear(size).await;
}

#[tokio::test(start_paused = true)]
async fn idle_connection_of_a_retired_config_is_closed_at_once() {
    let mut client = Client::connect(1024, 3);
    client.say(REQUEST).await;
    client.hear(3).await;
    tokio::time::sleep(keep_alive::MIN_IDLE_TIME * 3).await;
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
/// The default `header_timeout`.
const LIMIT: Duration = Duration::from_secs(15);
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
    let (idle, stall) = (
        settings.idle_timeout.get(),
        settings.stream_idle_timeout.get(),
    );
    assert!(idle < stall);
    for (has_rest, limit) in [(false, idle), (true, stall)] {
        let driver = driver(&settings);
        let clock = Arc::new(SendClock::new(driver.activity.clone()));
        let rest = has_rest.then(|| clock.chunk(vec![0; 10].into()));
        let start = tokio::time::Instant::now();
        driver.stalled().await;
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
