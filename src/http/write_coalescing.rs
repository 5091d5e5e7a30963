//! Write coalescing for HTTP/2. h2 writes and flushes every frame separately, and over TLS
//! every write costs a record and a system call. [`CoalescingWriter`] collects the frames,
//! and [`CoalescedConn`] sends them at the end of a turn, or earlier when they fill a TLS
//! record.
//!
//! A turn takes two polls of the connection's task. After the first, the task wakes itself
//! and goes to the end of the runtime's queue, so that stream tasks that are ready run
//! before it and add their frames. The second poll sends everything in one write.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::runtime::stream_filter::{FilteredStream, StreamFilter};

/// A stream that collects written bytes until its [`CoalescedConn`] sends them.
pub(super) type CoalescingWriter<S> = FilteredStream<S, Coalescing>;

/// The filter of a [`CoalescingWriter`].
#[derive(Debug)]
pub(super) struct Coalescing {
    /// Collected bytes, at most one TLS record.
    buffer: BytesMut,
    gate: Arc<FlushGate>,
}

/// The flags that the writer and its connection share. hyper owns the writer, so the two
/// cannot share a borrow. Both run in the connection's task: the writer is polled only from
/// within `CoalescedConn::poll`, hence the atomics are `Relaxed`.
#[derive(Debug, Default)]
struct FlushGate {
    /// Whether a flush sends the buffer. Open only while `CoalescedConn` polls to send.
    is_open: AtomicBool,
    /// Whether something was written since the last complete flush of the inner stream.
    has_pending: AtomicBool,
}

/// The connection over a [`CoalescingWriter`], with its turns.
#[derive(Debug)]
pub(super) struct CoalescedConn<C> {
    connection: C,
    gate: Arc<FlushGate>,
    /// Whether the task has yielded in this turn, so that the next poll sends.
    has_yielded: bool,
}

impl<S> CoalescingWriter<S> {
    /// Creates a writer with an empty buffer in front of `stream`.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            filter: Coalescing {
                buffer: BytesMut::new(),
                gate: Arc::default(),
            },
        }
    }

    /// Returns the connection that `serve` makes over this stream. The connection must be
    /// polled through the result, or nothing is sent.
    pub(super) fn into_conn<C>(self, serve: impl FnOnce(Self) -> C) -> CoalescedConn<C> {
        let gate = Arc::clone(&self.filter.gate);
        CoalescedConn {
            connection: serve(self),
            gate,
            has_yielded: false,
        }
    }
}

impl<C> CoalescedConn<C> {
    /// Returns hyper's connection, for its graceful shutdown.
    pub(super) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl<C: Future + Unpin> Future for CoalescedConn<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        // A connection that ends cleanly has shut its stream down, which sends the buffer.
        if let Poll::Ready(ended) = Pin::new(&mut this.connection).poll(cx) {
            return Poll::Ready(ended);
        }
        if !this.gate.has_pending.load(Relaxed) {
            return Poll::Pending;
        }
        if !std::mem::replace(&mut this.has_yielded, true) {
            // The first poll of the turn: go to the end of the runtime's queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.has_yielded = false;
        // The second poll of the turn. h2 ends each poll with a flush, and the open gate
        // lets this one through. If the socket blocks, the inner stream has registered
        // this task's waker; `has_pending` stays true, and the wake-up begins another turn.
        this.gate.is_open.store(true, Relaxed);
        let polled = Pin::new(&mut this.connection).poll(cx);
        this.gate.is_open.store(false, Relaxed);
        polled
    }
}

impl Coalescing {
    /// Writes the buffer to `stream`, frees it, and flushes `stream`.
    fn poll_write_buffered<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &self.buffer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(written);
        }
        // An idle connection keeps no buffer.
        self.buffer = BytesMut::new();
        ready!(Pin::new(stream).poll_flush(cx))?;
        self.gate.has_pending.store(false, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl StreamFilter for Coalescing {
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The buffer is bounded by one record. A full one is sent at once, and a blocked
        // socket then blocks h2: the backpressure reaches the streams.
        if self.buffer.len() >= TLS_RECORD_BYTES {
            ready!(self.poll_write_buffered(stream, cx))?;
        }
        self.gate.has_pending.store(true, Relaxed);
        let room = TLS_RECORD_BYTES - self.buffer.len();
        let mut written = 0;
        for buf in bufs {
            let count = buf.len().min(room - written);
            self.buffer.extend_from_slice(&buf[..count]);
            written += count;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gate.is_open.load(Relaxed) {
            self.poll_write_buffered(stream, cx)
        } else {
            // The bytes stay in the buffer. `CoalescedConn` sees `has_pending` after this
            // poll and takes care that they are sent.
            Poll::Ready(Ok(()))
        }
    }

    fn poll_shutdown<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write_buffered(stream, cx))?;
        Pin::new(stream).poll_shutdown(cx)
    }

    fn is_write_vectored<S: AsyncWrite>(&self, _: &S) -> bool {
        true
    }
}

/// The largest plaintext of a TLS record (RFC 8446 §5.1).
const TLS_RECORD_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};

    use super::*;

    /// Counts writes.
    struct Counting(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Relaxed);
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn frames_of_one_poll_are_coalesced_into_one_write() {
        let (near, mut far) = tokio::io::duplex(1024);
        let writes = Arc::default();
        let stream = CoalescingWriter::new(Counting(near, Arc::clone(&writes)));
        let mut connection = stream.into_conn(|mut stream| {
            Box::pin(async move {
                for frame in ["head, ", "body, ", "end"] {
                    stream.write_all(frame.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
                // Like h2: flush whenever there is nothing to write.
                std::future::poll_fn(|cx| -> Poll<()> {
                    assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
                    Poll::Pending
                })
                .await;
            })
        });
        let mut got = [0; 64];
        tokio::select! {
            () = &mut connection => panic!("the connection must not end"),
            read = far.read(&mut got) => assert_eq!(&got[..read.unwrap()], b"head, body, end"),
        }
        assert_eq!(writes.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn large_write_passes_whole_through_a_small_pipe() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = CoalescingWriter::new(near);
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let writing = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(near.filter.buffer.capacity(), 0);
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(writing, far.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got, sent);
    }
}
