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
pub(super) struct Session {
    tls: UnbufferedServerConnection,
    heard: Heard,
    /// Encrypted, and not sent yet.
    pub(super) outgoing: BytesMut,
    /// We have said that we send no more.
    closed: bool,
    /// Nothing that follows an error can be trusted.
    failed: bool,
}

/// What the peer said.
#[derive(Default)]
struct Heard {
    /// More than the reader had room for.
    plaintext: BytesMut,
    /// That it sends no more.
    ended: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            heard: Heard::default(),
            outgoing: BytesMut::new(),
            closed: false,
            failed: false,
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
        match self.failed {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.heard.plaintext.capacity() + self.outgoing.capacity() == 0
    }

    /// Gives what was decrypted before to `space`.
    pub(super) fn hand_over(&mut self, space: &mut ReadBuf<'_>) {
        let plaintext = &mut self.heard.plaintext;
        let some = plaintext.len().min(space.remaining());
        space.put_slice(&plaintext[..some]);
        plaintext.advance(some);
        if plaintext.is_empty() {
            *plaintext = BytesMut::new();
        }
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
                    self.fail(&mut came[used..]);
                    let error = io::Error::new(io::ErrorKind::InvalidData, error);
                    return (came.len(), Err(error));
                }
            }
        }
        (used, Ok(()))
    }

    /// Takes the alert, if there is one, that tells the peer what it did.
    fn fail(&mut self, came: &mut [u8]) {
        self.failed = true;
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
        self.say(incoming, room, |traffic, room| {
            traffic.encrypt(plaintext, room)
        })
    }

    /// Says once that we send no more (close_notify, RFC 8446 §6.1).
    pub(super) fn close(&mut self, incoming: &mut BytesMut) -> io::Result<()> {
        if self.closed || self.failed {
            return Ok(());
        }
        self.closed = true;
        let mut room = [0; 1024];
        let said = self.say(incoming, &mut room, |traffic, room| {
            traffic.queue_close_notify(room)
        })?;
        self.outgoing.extend_from_slice(&room[..said]);
        Ok(())
    }

    /// Lets `what` write to `room`, behind what rustls itself has to say to what is
    /// left of `incoming`.
    fn say(
        &mut self,
        incoming: &mut BytesMut,
        room: &mut [u8],
        what: impl FnOnce(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        self.check()?;
        let mut end = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(incoming);
            let noted = match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let said = what(&mut traffic, &mut room[end..]).map_err(io::Error::other)?;
                    incoming.advance(discard);
                    return Ok(end + said);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    end += data.encode(&mut room[end..]).map_err(io::Error::other)?;
                    Ok(0)
                }
                Ok(state) => self.heard.note(state, None),
                Err(error) => Err(error),
            };
            match noted {
                Ok(more) => incoming.advance(discard + more),
                Err(error) => {
                    self.fail(incoming);
                    incoming.clear();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}

impl Heard {
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
    encoded.map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(())
}
