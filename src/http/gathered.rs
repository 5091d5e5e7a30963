//! What is written to an HTTP/2 connection, gathered: h2 writes each frame by
//! itself, and over TLS each write is a record and a system call. Here they
//! wait for the flush that h2 ends its turn with, or for a record's worth.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writes wait for a flush. It holds nothing once flushed.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    inner: S,
    waiting: BytesMut,
}

impl<S> Gathered<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            waiting: BytesMut::new(),
        }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Writes what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
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
        if self.waiting.len() >= RECORD {
            ready!(self.poll_send(cx))?;
        }
        let room = RECORD - self.waiting.len();
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
const RECORD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn writes_wait_for_the_flush_and_leave_as_one() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Gathered::new(near);
        near.write_all(b"head, ").await.unwrap();
        let parts = [IoSlice::new(b"body"), IoSlice::new(b", end")];
        assert_eq!(near.write_vectored(&parts).await.unwrap(), 9);
        let mut got = [0; 64];
        tokio::select! {
            biased;
            _ = far.read(&mut got) => panic!("nothing was flushed"),
            () = std::future::ready(()) => {}
        }
        near.flush().await.unwrap();
        let read = far.read(&mut got).await.unwrap();
        assert_eq!(&got[..read], b"head, body, end");
        assert_eq!(near.waiting.capacity(), 0);
    }

    #[tokio::test]
    async fn more_than_a_record_passes_whole_through_a_narrow_pipe() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = Gathered::new(near);
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let writing = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(writing, far.read_to_end(&mut got));
        read.unwrap();
        assert_eq!(got, sent);
    }
}
