//! The lingering close of a connection (RFC 9112 §9.6). A connection that is closed with bytes
//! unread is reset, and the reset can destroy a response that the client has not read yet. So
//! the edge stops writing first, reads and drops the bytes that still arrive, and closes the
//! connection when the client has closed it, or at a bound.
//!
//! Meanwhile the connection keeps its permit, so the limits of connections bound how many
//! linger, of one client and in all.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::runtime::lazy_timer::LazyTimer;
use crate::runtime::stream_filter::{FilteredStream, StreamFilter};

/// A stream that lingers when it is shut down.
pub(super) type LingeringStream<S> = FilteredStream<S, LingeringClose>;

/// The progress of a lingering close, and the filter of a [`LingeringStream`].
#[derive(Debug, Default)]
pub(super) struct LingeringClose {
    state: State,
    /// The bytes that were read and dropped.
    dropped_bytes: usize,
    timer: LazyTimer,
}

#[derive(Debug, Default)]
enum State {
    /// The close has not begun.
    #[default]
    Open,
    /// The writing side is being shut down.
    ShuttingDown { end: Instant },
    /// What arrives is dropped. The time runs from the last byte.
    Dropping { end: Instant, last_byte: Instant },
}

/// Shuts `stream` down and lingers until it can be dropped. Dropping the future closes the
/// connection at once.
pub(super) async fn close_lingering<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let mut close = LingeringClose::default();
    // After an error there is nothing to wait for.
    let _ = poll_fn(|cx| close.poll_close(stream, cx)).await;
}

impl<S> LingeringStream<S> {
    /// Wraps `stream`.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            filter: LingeringClose::default(),
        }
    }
}

impl LingeringClose {
    /// Completes when the client has closed the connection too, or a bound is reached.
    ///
    /// # Errors
    /// Returns the error of the shutdown.
    fn poll_close<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::Open => {
                    let end = Instant::now() + LINGER_TIMEOUT;
                    self.state = State::ShuttingDown { end };
                }
                State::ShuttingDown { end } => {
                    if let Poll::Ready(result) = Pin::new(&mut *stream).poll_shutdown(cx) {
                        result?;
                        let last_byte = Instant::now();
                        self.state = State::Dropping { end, last_byte };
                    } else {
                        return self.timer.poll_until(end, cx).map(Ok);
                    }
                }
                State::Dropping { end, last_byte } => {
                    let due = end.min(last_byte + LINGER_IDLE_TIMEOUT);
                    let Poll::Ready(count) = poll_drop(stream, cx) else {
                        return self.timer.poll_until(due, cx).map(Ok);
                    };
                    self.dropped_bytes += count;
                    // The timer alone would not end a client that sends without a pause.
                    let now = Instant::now();
                    if count == 0 || self.dropped_bytes > MAX_DROPPED_BYTES || now >= due {
                        return Poll::Ready(Ok(()));
                    }
                    self.state = State::Dropping {
                        end,
                        last_byte: now,
                    };
                }
            }
        }
    }
}

impl StreamFilter for LingeringClose {
    fn poll_shutdown<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_close(stream, cx)
    }
}

/// Reads and drops bytes. Returns their number; 0 at the end of the stream or after an error.
fn poll_drop<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> Poll<usize> {
    let mut space = [MaybeUninit::uninit(); DROP_BUFFER_BYTES];
    let mut buf = ReadBuf::uninit(&mut space);
    let read = ready!(Pin::new(stream).poll_read(cx, &mut buf));
    Poll::Ready(read.map_or(0, |()| buf.filled().len()))
}

/// The longest time that a close lingers; nginx's `lingering_time`.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// The time that it lingers without a byte; nginx's `lingering_timeout`.
const LINGER_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The bytes that it drops. A client sends its whole upload before it reads the response to
/// it, so this is far above the default of `http.max_body_size`.
const MAX_DROPPED_BYTES: usize = 256 * 1024 * 1024;
const DROP_BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// Returns how long the close of a connection lingers whose client does `act`.
    async fn lingers<F: Future<Output = ()>>(act: impl FnOnce(DuplexStream) -> F) -> Duration {
        let (client, mut server) = tokio::io::duplex(64 * 1024);
        let start = Instant::now();
        let (took, ()) = tokio::join!(
            async {
                close_lingering(&mut server).await;
                drop(server);
                start.elapsed()
            },
            act(client)
        );
        took
    }

    #[tokio::test(start_paused = true)]
    async fn close_drops_the_upload_and_ends_with_the_client() {
        let took = lingers(|mut client| async move {
            client.write_all(&vec![0; 40_000_000]).await.unwrap();
            // The edge has stopped writing before.
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        });
        assert_eq!(took.await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn close_with_a_silent_client_ends_after_the_idle_timeout() {
        let took = lingers(|client| async move {
            tokio::time::sleep(10 * LINGER_TIMEOUT).await;
            drop(client);
        });
        assert_eq!(took.await, LINGER_IDLE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn close_with_a_dripping_client_ends_after_the_timeout() {
        let took = lingers(|mut client| async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(took.await, LINGER_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn close_with_an_endless_sender_ends_at_the_byte_limit() {
        let took = lingers(|mut client| async move {
            let (mut sent, piece) = (0, vec![0; 1024 * 1024]);
            while client.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            assert!(sent <= MAX_DROPPED_BYTES + piece.len(), "{sent}");
        });
        assert_eq!(took.await, Duration::ZERO);
    }
}
