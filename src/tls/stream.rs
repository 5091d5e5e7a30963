//! A stream that speaks TLS by rustls' unbuffered connection, which leaves the
//! buffers to us: its other one keeps 4 KiB for what it reads next, as long as a
//! connection lasts. Here one that rests has none; they all work in the memory of
//! their thread and keep only what is left over.

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
    session: UnbufferedConnection,
    /// What came and is not a whole record, or more than was asked for.
    incoming: BytesMut,
}

impl<S> TlsStream<S> {
    /// The application protocol that was agreed on (RFC 7301).
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.session.tls().alpn_protocol()
    }

    /// The client's certificate, and those that vouch for it.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.session.tls().peer_certificates()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Does the handshake over `io`.
    ///
    /// # Errors
    /// The peer went away, or spoke something else, which an alert told it.
    pub(super) async fn accept(config: Arc<ServerConfig>, io: S) -> io::Result<Self> {
        let mut stream = Self {
            io,
            session: UnbufferedConnection::new(config)?,
            incoming: BytesMut::new(),
        };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            if !self.session.tls().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx, None))?;
        }
    }

    /// Reads once, and decrypts into `space` what it has room for.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        space: Option<&mut ReadBuf<'_>>,
    ) -> Poll<io::Result<()>> {
        self.session.check()?;
        let mut scratch = Scratch::take();
        let (room, left) = (scratch.room(), self.incoming.len());
        // Not more records than the reader has room for: they would have to be kept.
        let wanted = space.as_ref().map_or(0, |space| space.remaining());
        let records = wanted.div_ceil(RECORD_BYTES).max(1);
        let piece = left..SCRATCH_BYTES.min(left + records * SEALED_RECORD_BYTES);
        if piece.is_empty() {
            return Poll::Ready(Err(invalid("a handshake without end")));
        }
        let mut read = ReadBuf::new(&mut room[piece]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let came = left + read.filled().len();
        if came == left {
            // Without close_notify: what was said may have been cut off.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        room[..left].copy_from_slice(&self.incoming);
        let (used, received) = self.session.receive(&mut room[..came], space);
        self.incoming = BytesMut::from(&room[used..came]);
        Poll::Ready(self.send_alert(cx, received))
    }

    /// Decrypts of what came before.
    fn receive_left(
        &mut self,
        cx: &mut Context<'_>,
        space: Option<&mut ReadBuf<'_>>,
    ) -> io::Result<()> {
        let (used, received) = self.session.receive(&mut self.incoming, space);
        self.incoming.advance(used);
        release(&mut self.incoming);
        self.send_alert(cx, received)
    }

    /// Sends the alert that goes with an error, if it can be sent now. Everything else
    /// that rustls says waits for the next write: whoever reads may be another than
    /// who writes, and must neither wait for him nor take his place.
    fn send_alert(&mut self, cx: &mut Context<'_>, received: io::Result<()>) -> io::Result<()> {
        if received.is_err() {
            let _ = self.poll_send(cx);
        }
        received?;
        match self.session.outgoing.len() {
            ..=SCRATCH_BYTES => Ok(()),
            _ => Err(invalid("it asks and does not read")),
        }
    }

    /// Sends what is encrypted already.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outgoing = &mut self.session.outgoing;
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

    /// Encrypts and sends; what cannot be sent now is kept.
    fn send(&mut self, cx: &mut Context<'_>, pieces: &[&[u8]]) -> io::Result<()> {
        let (mut scratch, mut end) = (Scratch::take(), 0);
        let mut room = scratch.room();
        let joined;
        let mut pieces = pieces;
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if pieces.len() > 1 && length <= RECORD_BYTES {
            // A head and its body in one record.
            let place;
            (place, room) = room.split_at_mut(length);
            joined = [join(pieces, place)];
            pieces = &joined;
        }
        for piece in pieces {
            let sealed = self
                .session
                .seal(piece, &mut self.incoming, &mut room[end..]);
            end += match sealed {
                Ok(sealed) => sealed,
                Err(error) => return self.send_alert(cx, Err(error)),
            };
        }
        let mut sealed = &room[..end];
        while !sealed.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, sealed)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => sealed = &sealed[sent..],
                Poll::Pending => {
                    self.session.outgoing.extend_from_slice(sealed);
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
        this.session.take_plaintext(buf);
        if buf.filled().len() == before && !this.incoming.is_empty() {
            let received = this.receive_left(cx, Some(buf));
            // What came before an error is handed over first: the error stays.
            if buf.filled().len() == before {
                received?;
            }
        }
        while buf.filled().len() == before && buf.remaining() > 0 && !this.session.has_ended() {
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
        let some = &buf[..buf.len().min(MAX_PLAINTEXT_BYTES)];
        this.send(cx, &[some])?;
        Poll::Ready(Ok(some.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let mut left = MAX_PLAINTEXT_BYTES;
        let pieces = bufs.iter().map(|buf| {
            let some = &buf[..buf.len().min(left)];
            left -= some.len();
            some
        });
        let pieces = pieces.filter(|piece| !piece.is_empty());
        let pieces: Vec<_> = pieces.take(MAX_PIECES).collect();
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
        // Where it cannot be said, the end of the connection must do.
        let _ = this.session.close(&mut this.incoming);
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// One after the other in `place`, which is as long as all of them.
fn join<'a>(pieces: &[&[u8]], place: &'a mut [u8]) -> &'a [u8] {
    let mut end = 0;
    for piece in pieces {
        place[end..end + piece.len()].copy_from_slice(piece);
        end += piece.len();
    }
    place
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Each of them has a head and a seal of its own, for which there is room.
const MAX_PIECES: usize = 64;
/// What is encrypted at once, in bytes of plaintext: all that is read of an answer at
/// once, and its head. It fits [`SCRATCH_BYTES`] as records.
const MAX_PLAINTEXT_BYTES: usize = 80 * 1024;
/// What goes into one record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// That with head and seal of TLS 1.3.
const SEALED_RECORD_BYTES: usize = RECORD_BYTES + 22;

#[cfg(test)]
mod tests;
