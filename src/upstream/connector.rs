//! Connections to one server, over TCP or a Unix socket. The stream records the first byte
//! of a response and lets hyper read a response that the server sent early.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use super::Address;
use crate::runtime::stream_filter::{FilteredStream, StreamFilter, poll_write};

/// Connects to `address`. The stream sets `response_started` whenever it reads a byte.
///
/// Dropping the future aborts the attempt.
///
/// # Errors
/// Returns the system's error, or `TimedOut` after `timeout`.
pub(super) async fn connect(
    address: &Address,
    timeout: Duration,
    response_started: Arc<AtomicBool>,
) -> io::Result<Stream> {
    let connecting = async {
        match address {
            Address::Tcp(authority) => {
                let stream = TcpStream::connect(authority.as_str()).await?;
                stream.set_nodelay(true)?;
                Ok(Either::Left(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Either::Right),
        }
    };
    let stream = match tokio::time::timeout(timeout, connecting).await {
        Ok(stream) => stream?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    Ok(Stream {
        stream,
        filter: EarlyResponse {
            response_started,
            discards_writes: false,
        },
    })
}

/// A connection to a server of the app. Its writes never fail.
///
/// If the app responds before it has read the whole request and then closes, writing fails
/// while the response waits to be read. hyper would report the failed write and lose the
/// response. So after the first failed write this stream discards all further data, and the
/// reading side decides: it finds the response, or the end of the connection.
pub(super) type Stream = FilteredStream<Either<TcpStream, UnixStream>, EarlyResponse>;

/// The filter of a [`Stream`].
#[derive(Debug)]
pub(super) struct EarlyResponse {
    response_started: Arc<AtomicBool>,
    /// A write has failed: the app accepts no more data.
    discards_writes: bool,
}

impl StreamFilter for EarlyResponse {
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.response_started.store(true, Relaxed);
        }
        polled
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.discards_writes {
            return Poll::Ready(Ok(length));
        }
        let written = ready!(poll_write(stream, cx, bufs));
        Poll::Ready(written.or_else(|_| {
            self.discards_writes = true;
            Ok(length)
        }))
    }
}
