//! The TLS record layer of one connection over rustls' unbuffered API: decrypts records,
//! encrypts plaintext, and keeps the state that rustls leaves to its caller. No I/O.
//!
//! rustls' contract: `process_tls_records` looks at the records at the front of a buffer and
//! returns one state to react to, and a number of bytes to discard. The caller repeats that
//! until the state is one that waits (for more bytes, or for plaintext to encrypt). Bytes must
//! be discarded only after the state has been handled, since it borrows them: rustls decrypts
//! in place.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::ReadBuf;

/// The server's side of a TLS connection, without its socket.
///
/// All ciphertext that has to leave before anything else is in `outgoing`. [`Self::seal`]
/// encrypts past it, directly into the caller's buffer, so its caller must have sent
/// `outgoing` first: TLS numbers its records, and the peer must get them in order.
pub(super) struct UnbufferedConnection {
    tls: UnbufferedServerConnection,
    received: ReceivedData,
    /// Ciphertext that has not been sent yet.
    pub(super) outgoing: BytesMut,
    /// The edge has sent `close_notify`, so it must not encrypt anything more.
    closed: bool,
    /// The first error. It is permanent: nothing that follows an error can be trusted.
    failed: Option<rustls::Error>,
}

/// Data received from the peer.
#[derive(Default)]
struct ReceivedData {
    /// Decrypted bytes for which the reader had no room. They come before all bytes that are
    /// still encrypted.
    plaintext: BytesMut,
    /// The peer has sent `close_notify`.
    ended: bool,
}

impl std::fmt::Debug for UnbufferedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnbufferedConnection")
            .finish_non_exhaustive()
    }
}

impl UnbufferedConnection {
    /// Creates a connection that waits for a ClientHello.
    ///
    /// # Errors
    /// Returns an error that wraps rustls' if `config` is unusable.
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            received: ReceivedData::default(),
            outgoing: BytesMut::new(),
            closed: false,
            failed: None,
        })
    }

    /// Returns rustls' connection, for what the handshake has negotiated.
    pub(super) fn tls(&self) -> &UnbufferedServerConnection {
        &self.tls
    }

    /// Returns whether the peer has sent `close_notify` and all its data has been read.
    pub(super) fn has_ended(&self) -> bool {
        self.received.ended && self.received.plaintext.is_empty()
    }

    /// Checks that the connection has not failed.
    ///
    /// # Errors
    /// Returns the first error, as `InvalidData`.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn buffers(&mut self) -> [&mut BytesMut; 2] {
        [&mut self.received.plaintext, &mut self.outgoing]
    }

    /// Moves bytes that were decrypted earlier to `space`, as many as fit.
    pub(super) fn take_plaintext(&mut self, space: &mut ReadBuf<'_>) {
        let plaintext = &mut self.received.plaintext;
        let length = plaintext.len().min(space.remaining());
        space.put_slice(&plaintext[..length]);
        plaintext.advance(length);
        release(plaintext);
    }

    /// Processes records from the front of `incoming` until no complete one is left or
    /// `space` is full. Returns the number of processed bytes, which the caller must discard.
    ///
    /// Ciphertext from rustls is appended to `outgoing`. Without `space`,
    /// during the handshake, application data goes to the internal buffer.
    ///
    /// The result is the connection's error, if it has failed. All of `incoming` counts as
    /// processed then, and an alert for the peer is in `outgoing`.
    pub(super) fn receive(
        &mut self,
        incoming: &mut [u8],
        mut space: Option<&mut ReadBuf<'_>>,
    ) -> (usize, io::Result<()>) {
        let mut used = 0;
        while space.as_ref().is_none_or(|space| space.remaining() > 0) {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut incoming[used..]);
            let processed = match state {
                // These wait: for more bytes, for plaintext to encrypt, or for nothing.
                Ok(
                    ConnectionState::WriteTraffic(_)
                    | ConnectionState::BlockedHandshake
                    | ConnectionState::Closed,
                ) => return (used + discard, Ok(())),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut data, &mut self.outgoing).map(|()| 0)
                }
                Ok(state) => self.received.process(state, space.as_deref_mut()),
                Err(error) => Err(error),
            };
            match processed {
                Ok(more) => used += discard + more,
                Err(error) => {
                    self.fail(error, &mut incoming[used..]);
                    return (incoming.len(), self.check());
                }
            }
        }
        (used, Ok(()))
    }

    /// Makes `error` permanent, and puts the alert for the peer into `outgoing` if rustls has
    /// one (RFC 8446 §6.2).
    fn fail(&mut self, error: rustls::Error, incoming: &mut [u8]) {
        self.failed = Some(error);
        while self.tls.wants_write()
            && let state = self.tls.process_tls_records(incoming).state
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = state
            && append(&mut data, &mut self.outgoing).is_ok()
        {}
    }

    /// Encrypts `plaintext` into records at the front of `room` and returns their length.
    ///
    /// All of `outgoing` must have been sent before, and the records must be sent next. rustls
    /// may process records that are left in `incoming` first: a key update, for example,
    /// requires a response before the data.
    ///
    /// # Errors
    /// Returns `BrokenPipe` after [`Self::close`], and the connection's error if it has
    /// failed, or fails now.
    pub(super) fn seal(
        &mut self,
        plaintext: &[u8],
        incoming: &mut BytesMut,
        room: &mut [u8],
    ) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.encode(incoming, room, |traffic, room| {
            traffic.encrypt(plaintext, room)
        })
    }

    /// Appends `close_notify` (RFC 8446 §6.1) to `outgoing`, once. Does nothing after a
    /// failure.
    ///
    /// # Errors
    /// Returns the connection's error if it fails now.
    pub(super) fn close(&mut self, incoming: &mut BytesMut) -> io::Result<()> {
        if self.closed || self.failed.is_some() {
            return Ok(());
        }
        self.closed = true;
        let mut room = [0; 1024];
        let length = self.encode(incoming, &mut room, |traffic, room| {
            traffic.queue_close_notify(room)
        })?;
        self.outgoing.extend_from_slice(&room[..length]);
        Ok(())
    }

    /// Processes what is left of `incoming` until rustls is ready for traffic, and then lets
    /// `write` encrypt into `room`. Records of rustls' own come first in `room`, since they
    /// have the lower sequence numbers. Returns the length of all.
    fn encode(
        &mut self,
        incoming: &mut BytesMut,
        room: &mut [u8],
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        self.check()?;
        let mut end = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(incoming);
            let mut done = false;
            // Bytes written to `room`, and bytes of `incoming` used beyond `discard`.
            let processed = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    done = true;
                    write(&mut traffic, &mut room[end..])
                        .map(|written| (written, 0))
                        .map_err(general)
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => data
                    .encode(&mut room[end..])
                    .map(|written| (written, 0))
                    .map_err(general),
                Ok(state) => self.received.process(state, None).map(|more| (0, more)),
                Err(error) => Err(error),
            };
            match processed {
                Ok((written, more)) => {
                    end += written;
                    incoming.advance(discard + more);
                }
                Err(error) => {
                    // The records so far are numbered, so the alert must come after them.
                    self.outgoing.extend_from_slice(&room[..end]);
                    self.fail(error, incoming);
                    *incoming = BytesMut::new();
                    return self.check().map(|()| 0);
                }
            }
            if done {
                release(incoming);
                return Ok(end);
            }
        }
    }
}

impl ReceivedData {
    /// Handles the states that are the same for reading and writing. Returns the number of
    /// bytes that it has processed beyond the status' own `discard`.
    fn process(
        &mut self,
        state: ConnectionState<'_, '_, ServerConnectionData>,
        mut space: Option<&mut ReadBuf<'_>>,
    ) -> Result<usize, rustls::Error> {
        let mut used = 0;
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record().transpose()? {
                    used += record.discard;
                    self.deliver(record.payload, space.as_deref_mut());
                }
            }
            // rustls waits until the caller has sent its data. The data is in `outgoing` or
            // `room`, from where nothing can overtake it, so that counts as sent.
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => self.ended = true,
            // Early data, which the configuration never allows.
            _ => return Err(rustls::Error::General("unexpected state".into())),
        }
        Ok(used)
    }

    /// Copies decrypted bytes to `space`, and what does not fit to the buffer. If the buffer
    /// holds earlier bytes, all go there to keep their order.
    fn deliver(&mut self, plaintext: &[u8], space: Option<&mut ReadBuf<'_>>) {
        let mut rest = plaintext;
        if let Some(space) = space
            && self.plaintext.is_empty()
        {
            let fitting;
            (fitting, rest) = rest.split_at(rest.len().min(space.remaining()));
            space.put_slice(fitting);
        }
        self.plaintext.extend_from_slice(rest);
    }
}

/// Appends a handshake message or an alert of rustls' to `outgoing`.
fn append(
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
    outgoing: &mut BytesMut,
) -> Result<(), rustls::Error> {
    let end = outgoing.len();
    // Encoding into an empty buffer fails with the required size.
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        outgoing.resize(end + size.required_size, 0);
    }
    let encoded = data.encode(&mut outgoing[end..]);
    encoded.map(drop).map_err(general)
}

fn general(error: impl std::error::Error) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// Frees the memory of an empty buffer, so that an idle connection holds none.
pub(super) fn release(buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
}
