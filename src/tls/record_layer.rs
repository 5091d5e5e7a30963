//! What rustls knows of one connection, and what follows from what it is told.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::ReadBuf;

/// The server's side of a TLS connection, without the connection.
pub(super) struct UnbufferedConnection {
    tls: UnbufferedServerConnection,
    heard: ReceivedData,
    /// Encrypted, and not sent yet.
    pub(super) outgoing: BytesMut,
    /// We have said that we send no more.
    closed: bool,
    /// Nothing that follows an error can be trusted.
    failed: Option<rustls::Error>,
}

/// What the peer said.
#[derive(Default)]
struct ReceivedData {
    /// More than the reader had room for.
    plaintext: BytesMut,
    /// That it sends no more.
    ended: bool,
}

impl std::fmt::Debug for UnbufferedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl UnbufferedConnection {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            heard: ReceivedData::default(),
            outgoing: BytesMut::new(),
            closed: false,
            failed: None,
        })
    }

    pub(super) fn tls(&self) -> &UnbufferedServerConnection {
        &self.tls
    }

    /// Whether all has been read that the peer will ever say.
    pub(super) fn has_ended(&self) -> bool {
        self.heard.ended && self.heard.plaintext.is_empty()
    }

    /// Whether it can go on.
    ///
    /// # Errors
    /// Something went wrong before.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn buffers(&mut self) -> [&mut BytesMut; 2] {
        [&mut self.heard.plaintext, &mut self.outgoing]
    }

    /// Gives what was decrypted before to `space`.
    pub(super) fn take_plaintext(&mut self, space: &mut ReadBuf<'_>) {
        let plaintext = &mut self.heard.plaintext;
        let some = plaintext.len().min(space.remaining());
        space.put_slice(&plaintext[..some]);
        plaintext.advance(some);
        release(plaintext);
    }

    /// Takes records off the front of `came`, until there is no whole one more or
    /// `space` is full. Returns how many bytes are done with.
    pub(super) fn receive(
        &mut self,
        came: &mut [u8],
        mut space: Option<&mut ReadBuf<'_>>,
    ) -> (usize, io::Result<()>) {
        let mut used = 0;
        while space.as_ref().is_none_or(|space| space.remaining() > 0) {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut came[used..]);
            let noted = match state {
                Ok(
                    ConnectionState::WriteTraffic(_)
                    | ConnectionState::BlockedHandshake
                    | ConnectionState::Closed,
                ) => return (used + discard, Ok(())),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut data, &mut self.outgoing).map(|()| 0)
                }
                Ok(state) => self.heard.note(state, space.as_deref_mut()),
                Err(error) => Err(error),
            };
            match noted {
                Ok(more) => used += discard + more,
                Err(error) => {
                    self.fail(error, &mut came[used..]);
                    return (came.len(), self.check());
                }
            }
        }
        (used, Ok(()))
    }

    /// Takes the alert, if there is one, that tells the peer what it did.
    fn fail(&mut self, error: rustls::Error, came: &mut [u8]) {
        self.failed = Some(error);
        while self.tls.wants_write()
            && let state = self.tls.process_tls_records(came).state
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = state
            && append(&mut data, &mut self.outgoing).is_ok()
        {}
    }

    /// Writes `plaintext` as records to the front of `room`, returns how long they
    /// are. All of `outgoing` must have been sent: these come next.
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

    /// Says once that we send no more (close_notify, RFC 8446 §6.1).
    pub(super) fn close(&mut self, incoming: &mut BytesMut) -> io::Result<()> {
        if self.closed || self.failed.is_some() {
            return Ok(());
        }
        self.closed = true;
        let mut room = [0; 1024];
        let said = self.encode(incoming, &mut room, |traffic, room| {
            traffic.queue_close_notify(room)
        })?;
        self.outgoing.extend_from_slice(&room[..said]);
        Ok(())
    }

    /// Lets `what` write to `room`, behind what rustls itself has to say to what is
    /// left of `incoming`.
    fn encode(
        &mut self,
        incoming: &mut BytesMut,
        room: &mut [u8],
        mut what: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        self.check()?;
        let mut end = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(incoming);
            let mut done = false;
            let noted = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    done = true;
                    let said = what(&mut traffic, &mut room[end..]);
                    said.map(|said| (said, 0)).map_err(general)
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let said = data.encode(&mut room[end..]);
                    said.map(|said| (said, 0)).map_err(general)
                }
                Ok(state) => self.heard.note(state, None).map(|more| (0, more)),
                Err(error) => Err(error),
            };
            match noted {
                Ok((said, more)) => {
                    end += said;
                    incoming.advance(discard + more);
                }
                Err(error) => {
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
    /// Returns how much more of what came is done with. Sending is not rustls'
    /// business: it is told at once that it was done.
    fn note(
        &mut self,
        state: ConnectionState<'_, '_, ServerConnectionData>,
        mut space: Option<&mut ReadBuf<'_>>,
    ) -> Result<usize, rustls::Error> {
        let mut used = 0;
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    used += record.discard;
                    self.keep(record.payload, space.as_deref_mut());
                }
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => self.ended = true,
            // Early data, which is never asked for.
            _ => return Err(rustls::Error::General("unexpected state".into())),
        }
        Ok(used)
    }

    fn keep(&mut self, plaintext: &[u8], space: Option<&mut ReadBuf<'_>>) {
        let mut rest = plaintext;
        if let Some(space) = space
            && self.plaintext.is_empty()
        {
            let some;
            (some, rest) = rest.split_at(rest.len().min(space.remaining()));
            space.put_slice(some);
        }
        self.plaintext.extend_from_slice(rest);
    }
}

/// Puts what rustls has to say at the end of `outgoing`.
fn append(
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
    outgoing: &mut BytesMut,
) -> Result<(), rustls::Error> {
    let end = outgoing.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        outgoing.resize(end + size.required_size, 0);
    }
    let encoded = data.encode(&mut outgoing[end..]);
    encoded.map(drop).map_err(general)
}

fn general(error: impl std::error::Error) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// Gives the memory of an empty buffer back.
pub(super) fn release(buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
}
