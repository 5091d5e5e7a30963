//! The TLS stream of a connection: the one of tokio-rustls, with two guarantees for the layers
//! above.
//!
//! - A write is accepted only after the socket has accepted all earlier ones. tokio-rustls
//!   accepts more while its buffer has room. Then a client that reads nothing would seem to
//!   make progress, and each such connection would hold a full buffer.
//! - Data that arrived before an error is read before the error. After the error the stream
//!   reads and writes nothing.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, server};

/// The server's side of a TLS connection over `S`.
#[derive(Debug)]
pub(crate) struct TlsStream<S> {
    inner: server::TlsStream<S>,
    /// The error that ended the connection. Nothing that follows it can be trusted.
    failed: Option<io::Error>,
}

impl<S> TlsStream<S> {
    /// Returns rustls' connection, for what the handshake has negotiated.
    pub(super) fn connection(&self) -> &ServerConnection {
        self.inner.get_ref().1
    }

    /// Checks that the connection has not failed.
    ///
    /// # Errors
    /// Returns the kind and the text of the first error.
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Performs the handshake over `io`. Dropping the future closes the connection.
    ///
    /// # Errors
    /// Returns the socket's error, `UnexpectedEof` if the peer has closed the connection, and
    /// `InvalidData` if the handshake fails; the peer gets an alert then.
    pub(super) async fn accept(config: Arc<ServerConfig>, io: S) -> io::Result<Self> {
        let accepting = TlsAcceptor::from(config).accept_with(io, |connection| {
            connection.set_buffer_limit(Some(MAX_WRITE_BYTES));
        });
        Ok(Self {
            inner: accepting.await?,
            failed: None,
        })
    }

    /// Sends the records that wait for the socket.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        if self.connection().wants_write() {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads plaintext that arrived before the error, or else returns the error.
    fn read_left(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut reader = self.inner.get_mut().1.reader();
        match reader.read(buf.initialize_unfilled()) {
            Ok(count @ 1..) => {
                buf.advance(count);
                Ok(())
            }
            _ => self.check(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.failed.is_none() {
            match ready!(Pin::new(&mut this.inner).poll_read(cx, buf)) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    this.failed = Some(error);
                }
                read => return Poll::Ready(read),
            }
        }
        Poll::Ready(this.read_left(buf))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// The maximum of plaintext that rustls encrypts at once, in bytes: one read of a response and
/// its head, so that they leave in one write.
const MAX_WRITE_BYTES: usize = 80 * 1024;

#[cfg(test)]
mod tests;
