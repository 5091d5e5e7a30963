//! What is written to an HTTP/2 connection, gathered: h2 writes and flushes each
//! frame by itself, and over TLS each write is a record and a system call. Here
//! they wait for the end of a turn, or until they fill a record; and a turn lets
//! what else is ready add its answers first.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that what is written to it leaves when its [`CoalescedConn`] come to an end.
#[derive(Debug)]
pub(super) struct CoalescingWriter<S> {
    inner: S,
    waiting: BytesMut,
    gate: Arc<FlushGate>,
}

/// What the stream and the turns tell each other.
#[derive(Debug, Default)]
struct FlushGate {
    /// A flush sends.
    open: AtomicBool,
    /// Something is to be sent.
    waits: AtomicBool,
}

/// The turns of a connection over a [`CoalescingWriter`] stream.
#[derive(Debug)]
pub(super) struct CoalescedConn<C> {
    connection: C,
    gate: Arc<FlushGate>,
    /// The others have been let go first.
    waited: bool,
}

impl<S> CoalescingWriter<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            waiting: BytesMut::new(),
            gate: Arc::default(),
        }
    }

    /// The turns of the connection that `serve` makes over this stream. Without
    /// them nothing would be sent.
    pub(super) fn into_conn<C>(self, serve: impl FnOnce(Self) -> C) -> CoalescedConn<C> {
        let gate = Arc::clone(&self.gate);
        CoalescedConn {
            connection: serve(self),
            gate,
            waited: false,
        }
    }
}

impl<C> CoalescedConn<C> {
    pub(super) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl<C: Future + Unpin> Future for CoalescedConn<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        if let Poll::Ready(ended) = Pin::new(&mut this.connection).poll(cx) {
            return Poll::Ready(ended);
        }
        if !this.gate.waits.load(Relaxed) {
            return Poll::Pending;
        }
        if !std::mem::replace(&mut this.waited, true) {
            // To the end of the runtime's queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.waited = false;
        // The connection has nothing to write, so this is its flush.
        this.gate.open.store(true, Relaxed);
        let polled = Pin::new(&mut this.connection).poll(cx);
        this.gate.open.store(false, Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> CoalescingWriter<S> {
    /// Writes what waits; nothing is held once it has left.
    fn poll_write_buffered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        self.waiting = BytesMut::new();
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.gate.waits.store(false, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CoalescingWriter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CoalescingWriter<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gate.open.load(Relaxed) {
            self.poll_write_buffered(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_buffered(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= TLS_RECORD_BYTES {
            ready!(self.poll_write_buffered(cx))?;
        }
        self.gate.waits.store(true, Relaxed);
        let room = TLS_RECORD_BYTES - self.waiting.len();
        let mut taken = 0;
        for buf in bufs {
            let some = buf.len().min(room - taken);
            self.waiting.extend_from_slice(&buf[..some]);
            taken += some;
        }
        Poll::Ready(Ok(taken))
    }
}

/// What fits into one TLS record (RFC 8446 §5.1).
const TLS_RECORD_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// Counts writes.
    struct Counting(DuplexStream, Arc<AtomicUsize>);

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
    async fn frames_of_one_turn_leave_as_one_write() {
        let (near, mut far) = tokio::io::duplex(1024);
        let writes = Arc::default();
        let stream = CoalescingWriter::new(Counting(near, Arc::clone(&writes)));
        let mut turns = stream.into_conn(|mut stream| {
            Box::pin(async move {
                for frame in ["head, ", "body, ", "end"] {
                    stream.write_all(frame.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
                // As h2 does: while it has nothing to write it flushes.
                std::future::poll_fn(|cx| -> Poll<()> {
                    assert!(Pin::new(&mut stream).poll_flush(cx).is_ready());
                    Poll::Pending
                })
                .await;
            })
        });
        let mut got = [0; 64];
        tokio::select! {
            () = &mut turns => panic!("it does not end"),
            read = far.read(&mut got) => assert_eq!(&got[..read.unwrap()], b"head, body, end"),
        }
        assert_eq!(writes.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn more_than_a_record_passes_whole_through_a_narrow_pipe() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = CoalescingWriter::new(near);
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let writing = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            assert_eq!(near.waiting.capacity(), 0);
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(writing, far.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got, sent);
    }
}
