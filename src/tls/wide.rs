//! Reads in larger pieces: rustls asks the kernel for 4 KiB at a time, which for
//! an upload is a system call for each quarter of a record.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that reads ahead once a read was filled to its end, which is when
/// more is likely to wait. It holds nothing once what it has is taken.
#[derive(Debug)]
pub struct Wide<S> {
    inner: S,
    ahead: BytesMut,
    /// The last read was filled.
    more: bool,
}

impl<S> Wide<S> {
    /// Wraps `inner`.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            more: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wide<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() && !this.more {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            this.more = buf.remaining() == 0;
            return Poll::Ready(Ok(()));
        }
        if this.ahead.is_empty() {
            this.ahead.reserve(PIECE);
            let polled =
                tokio_util::io::poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.ahead);
            if !matches!(polled, Poll::Ready(Ok(1..))) {
                this.ahead = BytesMut::new();
            }
            this.more = matches!(polled, Poll::Ready(Ok(PIECE..)));
            ready!(polled)?;
        }
        let some = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..some]);
        this.ahead.advance(some);
        if this.ahead.is_empty() {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wide<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// Two records.
const PIECE: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn all_bytes_come_in_order_and_nothing_is_held_after() {
        let (mut near, far) = tokio::io::duplex(200_000);
        let sent: Vec<u8> = (0..100_000_u32).map(|n| (n * 7) as u8).collect();
        near.write_all(&sent).await.unwrap();
        let mut far = Wide::new(far);
        let mut got = Vec::new();
        let mut piece = [0; 4096];
        let mut wide = false;
        while got.len() < sent.len() {
            let read = far.read(&mut piece).await.unwrap();
            got.extend_from_slice(&piece[..read]);
            wide |= far.ahead.len() > piece.len();
        }
        assert_eq!(got, sent);
        assert!(wide);
        drop(near);
        assert_eq!(far.read(&mut piece).await.unwrap(), 0);
        assert_eq!(far.ahead.capacity(), 0);
    }
}
