//! The one delegation of all streams that wrap another one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A step between a stream and its user, which a [`FilteredStream`] runs. It may watch,
/// change, delay or fail each operation; the default passes it on.
pub(crate) trait StreamFilter {
    /// Reads from `stream` into `buf`; see [`AsyncRead::poll_read`].
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_read(cx, buf)
    }

    /// Writes `bufs` to `stream`; see [`AsyncWrite::poll_write_vectored`].
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write(stream, cx, bufs)
    }

    /// Flushes `stream`; see [`AsyncWrite::poll_flush`].
    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_flush(cx)
    }

    /// Shuts `stream` down; see [`AsyncWrite::poll_shutdown`].
    fn poll_shutdown<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(stream).poll_shutdown(cx)
    }

    /// Returns whether a write should have several buffers; see
    /// [`AsyncWrite::is_write_vectored`].
    fn is_write_vectored<S: AsyncWrite>(&self, stream: &S) -> bool {
        stream.is_write_vectored()
    }
}

/// Writes `bufs` to `stream`. A single one goes through `poll_write`: `write` costs the kernel
/// less than `writev` with one piece, and most writes are one.
pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    bufs: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    match bufs {
        [buf] => stream.poll_write(cx, buf),
        _ => stream.poll_write_vectored(cx, bufs),
    }
}

/// A stream whose operations pass a filter.
#[derive(Debug)]
pub(crate) struct FilteredStream<S, F> {
    /// The stream inside.
    pub(crate) stream: S,
    /// The filter.
    pub(crate) filter: F,
}

impl<S: AsyncRead + Unpin, F: StreamFilter + Unpin> AsyncRead for FilteredStream<S, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.filter.poll_read(&mut this.stream, cx, buf)
    }
}

impl<S, F> AsyncWrite for FilteredStream<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: StreamFilter + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.filter.poll_flush(&mut this.stream, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.filter.poll_shutdown(&mut this.stream, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.filter.is_write_vectored(&self.stream)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.filter.poll_write(&mut this.stream, cx, bufs)
    }
}
