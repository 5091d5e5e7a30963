//! Opens connections to one server, over TCP or a Unix socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Address;

/// Connects within `timeout`; `heard` is set with every byte that comes.
pub(super) async fn connect(
    address: &Address,
    timeout: Duration,
    response_started: Arc<AtomicBool>,
) -> io::Result<Stream> {
    let opening = async {
        match address {
            Address::Tcp(authority) => {
                let stream = TcpStream::connect(authority.as_str()).await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        }
    };
    let socket = match tokio::time::timeout(timeout, opening).await {
        Ok(socket) => socket?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    Ok(Stream {
        socket,
        response_started,
        deaf: false,
    })
}

/// A connection to the app.
///
/// An app that answers before it has read the whole request, and closes, makes
/// writing fail while its answer waits to be read. hyper would report the
/// failure. So after one, what is written is thrown away, and the reading side
/// tells what became of the request: the answer, or that there is none.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    response_started: Arc<AtomicBool>,
    /// The app takes no more.
    deaf: bool,
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
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(all));
        }
        // A head alone is the most frequent: the kernel takes one piece faster than a list.
        let written = ready!(match (&mut self.socket, bufs) {
            (Socket::Tcp(stream), [piece]) => Pin::new(stream).poll_write(cx, piece),
            (Socket::Tcp(stream), _) => Pin::new(stream).poll_write_vectored(cx, bufs),
            (Socket::Unix(stream), [piece]) => Pin::new(stream).poll_write(cx, piece),
            (Socket::Unix(stream), _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        });
        Poll::Ready(written.or_else(|_| {
            self.deaf = true;
            Ok(all)
        }))
    }
}
