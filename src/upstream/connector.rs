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

use super::Address;

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
                Ok(Socket::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        }
    };
    let socket = match tokio::time::timeout(timeout, connecting).await {
        Ok(socket) => socket?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    Ok(Stream {
        socket,
        response_started,
        discards_writes: false,
    })
}

/// A connection to a server of the app. Its writes never fail.
///
/// If the app responds before it has read the whole request and then closes, writing fails
/// while the response waits to be read. hyper would report the failed write and lose the
/// response. So after the first failed write this stream discards all further data, and the
/// reading side decides: it finds the response, or the end of the connection.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    response_started: Arc<AtomicBool>,
    /// A write has failed: the app accepts no more data.
    discards_writes: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.response_started.store(true, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(stream) => stream.is_write_vectored(),
            Socket::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.discards_writes {
            return Poll::Ready(Ok(length));
        }
        // Most writes are a head alone. `write` costs the kernel less than `writev` with a
        // single piece.
        let written = ready!(match (&mut self.socket, bufs) {
            (Socket::Tcp(stream), [piece]) => Pin::new(stream).poll_write(cx, piece),
            (Socket::Tcp(stream), _) => Pin::new(stream).poll_write_vectored(cx, bufs),
            (Socket::Unix(stream), [piece]) => Pin::new(stream).poll_write(cx, piece),
            (Socket::Unix(stream), _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        });
        Poll::Ready(written.or_else(|_| {
            self.discards_writes = true;
            Ok(length)
        }))
    }
}
