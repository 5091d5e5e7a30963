//! The TLS stream: an `AsyncRead` and `AsyncWrite` over the record layer and a socket.
//!
//! It uses rustls' unbuffered API, which leaves the buffers to its caller: rustls' buffered
//! connection keeps 4 KiB for its next read as long as the connection lives. Here all
//! connections of a thread work in one scratch buffer, and a connection keeps only what is
//! left over. So an idle connection holds no buffer, which matters with many WebSockets.
//!
//! Order of writes: `conn.outgoing` holds ciphertext that must leave first. Every write and
//! flush sends it before it encrypts anything, and fails or waits if it cannot.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::record_layer::{UnbufferedConnection, release};
use super::scratch::{SCRATCH_BYTES, Scratch};

/// The server's side of a TLS connection over `S`.
#[derive(Debug)]
pub struct TlsStream<S> {
    io: S,
    conn: UnbufferedConnection,
    /// Ciphertext that has been read and not processed: an incomplete record, or records for
    /// which the reader had no room.
    incoming: BytesMut,
}

impl<S> TlsStream<S> {
    /// Returns the negotiated application protocol (ALPN, RFC 7301).
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.conn.tls().alpn_protocol()
    }

    /// Returns the client's certificate followed by its intermediates, if the client has sent
    /// one.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.conn.tls().peer_certificates()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Performs the handshake over `io`. Dropping the future closes the connection.
    ///
    /// # Errors
    /// Returns the socket's error, `UnexpectedEof` if the peer has closed the connection, and
    /// `InvalidData` if the handshake fails; the peer gets an alert then.
    pub(super) async fn accept(config: Arc<ServerConfig>, io: S) -> io::Result<Self> {
        let mut stream = Self {
            io,
            conn: UnbufferedConnection::new(config)?,
            incoming: BytesMut::new(),
        };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            if !self.conn.tls().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx, None))?;
        }
    }

    /// Reads from the socket once, and decrypts into `space`. Leftovers go to `incoming`.
    ///
    /// The caller must have processed `incoming` as far as possible before.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        space: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<()>> {
        self.conn.check()?;
        let mut scratch = Scratch::take();
        let (room, left) = (scratch.room(), self.incoming.len());
        // Not more records than the reader has room for, since the connection would have to
        // keep the others in memory of its own.
        let capacity = space.as_ref().map_or(0, |space| space.remaining());
        let records = capacity.div_ceil(RECORD_BYTES).max(1);
        // The new bytes go behind the leftovers, which are copied in front of them only after
        // the read: a `Pending` read then costs no copy.
        let piece = left..SCRATCH_BYTES.min(left + records * SEALED_RECORD_BYTES);
        if piece.is_empty() {
            return Poll::Ready(Err(invalid("a handshake without end")));
        }
        let mut read = ReadBuf::new(&mut room[piece]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let filled = left + read.filled().len();
        if filled == left {
            // The end without close_notify may be a truncation by somebody else
            // (RFC 8446 §6.1).
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        room[..left].copy_from_slice(&self.incoming);
        let (used, received) = self.conn.receive(&mut room[..filled], space);
        self.incoming = BytesMut::from(&room[used..filled]);
        Poll::Ready(self.send_alert(cx, received))
    }

    /// Decrypts the leftovers of an earlier read into `space`.
    fn receive_left(
        &mut self,
        cx: &mut Context<'_>,
        space: Option<&mut ReadBuf<'_>>,
    ) -> io::Result<()> {
        let (used, received) = self.conn.receive(&mut self.incoming, space);
        self.incoming.advance(used);
        release(&mut self.incoming);
        self.send_alert(cx, received)
    }

    /// Tries to send the alert that belongs to an error, and passes the error on.
    ///
    /// Without an error this sends nothing: records of rustls' own wait in `outgoing` for the
    /// next write. Reader and writer may be different tasks. If the reader polled the socket
    /// for writing, it would replace the writer's waker, and the writer would never wake up.
    ///
    /// # Errors
    /// Returns the given error, or `InvalidData` if the peer makes rustls produce data without
    /// reading it.
    fn send_alert(&mut self, cx: &mut Context<'_>, received: io::Result<()>) -> io::Result<()> {
        if received.is_err() {
            let _ = self.poll_send(cx);
        }
        received?;
        match self.conn.outgoing.len() {
            ..=SCRATCH_BYTES => Ok(()),
            _ => Err(invalid("the client sends and does not read")),
        }
    }

    /// Sends the ciphertext in `outgoing`.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = &mut self.conn.outgoing;
        while !outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, outgoing))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outgoing.advance(sent);
        }
        release(outgoing);
        Poll::Ready(Ok(()))
    }

    /// Encrypts `pieces` and sends them; the socket's rest goes to `outgoing`.
    ///
    /// `outgoing` must be empty and the pieces together at most [`MAX_PLAINTEXT_BYTES`] long.
    /// The plaintext counts as written from here on, although its ciphertext may wait: the
    /// next write or flush sends it.
    fn send(&mut self, cx: &mut Context<'_>, pieces: &[&[u8]]) -> io::Result<()> {
        let (mut scratch, mut end) = (Scratch::take(), 0);
        let mut room = scratch.room();
        let joined;
        let mut pieces = pieces;
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if pieces.len() > 1 && length <= RECORD_BYTES {
            // A head and a short body share one record: that saves 22 bytes on the wire and
            // one encryption.
            let place;
            (place, room) = room.split_at_mut(length);
            joined = [join(pieces, place)];
            pieces = &joined;
        }
        for piece in pieces {
            let sealed = self.conn.seal(piece, &mut self.incoming, &mut room[end..]);
            end += match sealed {
                Ok(length) => length,
                Err(error) => return self.send_alert(cx, Err(error)),
            };
        }
        let mut unsent = &room[..end];
        while !unsent.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, unsent)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => unsent = &unsent[sent..],
                Poll::Pending => {
                    self.conn.outgoing.extend_from_slice(unsent);
                    break;
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        this.conn.take_plaintext(buf);
        if buf.filled().len() == before && !this.incoming.is_empty() {
            let received = this.receive_left(cx, Some(buf));
            // Data from before an error is returned first. The error is permanent, so the
            // next read returns it.
            if buf.filled().len() == before {
                received?;
            }
        }
        while buf.filled().len() == before && buf.remaining() > 0 && !this.conn.has_ended() {
            let received = ready!(this.poll_receive(cx, Some(buf)));
            if buf.filled().len() == before {
                received?;
            }
        }
        Poll::Ready(Ok(()))
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
        let piece = &buf[..buf.len().min(MAX_PLAINTEXT_BYTES)];
        this.send(cx, &[piece])?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let mut left = MAX_PLAINTEXT_BYTES;
        let pieces: Vec<_> = bufs
            .iter()
            .map(|buf| {
                let piece = &buf[..buf.len().min(left)];
                left -= piece.len();
                piece
            })
            .filter(|piece| !piece.is_empty())
            .take(MAX_PIECES)
            .collect();
        this.send(cx, &pieces)?;
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        // If close_notify cannot be encrypted, the connection ends without it.
        let _ = this.conn.close(&mut this.incoming);
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// Copies `pieces` one after the other to `place`, which has the length of all together.
fn join<'a>(pieces: &[&[u8]], place: &'a mut [u8]) -> &'a [u8] {
    let mut end = 0;
    for piece in pieces {
        place[end..end + piece.len()].copy_from_slice(piece);
        end += piece.len();
    }
    place
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The maximum number of pieces in one write. Each may become a record with a head and a tag
/// of its own, for which [`SCRATCH_BYTES`] has room.
const MAX_PIECES: usize = 64;
/// The maximum of plaintext that one write encrypts, in bytes: one read of a response and its
/// head. As records it fits into [`SCRATCH_BYTES`].
const MAX_PLAINTEXT_BYTES: usize = 80 * 1024;
/// The maximum of plaintext in one record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// A full record of TLS 1.3 with its head and tag.
const SEALED_RECORD_BYTES: usize = RECORD_BYTES + 22;

#[cfg(test)]
mod tests;
