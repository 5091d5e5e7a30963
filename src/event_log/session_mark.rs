//! The marks of sessions whose clients know no positions: what these clients have confirmed. They
//! stand between the records, so that a killed process knows what was confirmed before which
//! event. A start in a new epoch drops them.
//!
//! ```text
//! payload  5 session    session u64 | state u8 (0 open, 1 lost) | time u64 | token 32 bytes |
//!                       agent 16 bytes | user length u8 | user | number of rooms u16 | rooms
//!          6 confirmed  session u64 | offset u64
//!          7 ended      session u64
//! room     length u16 | room | offset u64
//! ```

use std::time::SystemTime;

use super::frame::{Fields, InvalidRecord, encode_frame, millis_of, time_of};

/// A change of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The session has entered or left a room, or was lost.
    Session(SessionMark),
    /// Its client has confirmed all events up to an offset, in all its rooms.
    Confirmed {
        /// The session.
        session: u64,
        /// The offset.
        offset: u64,
    },
    /// The session cannot be continued.
    Ended {
        /// The session.
        session: u64,
    },
}

/// A session, with what its client has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMark {
    /// The session.
    pub session: u64,
    /// Whether it was lost.
    pub is_lost: bool,
    /// The time of the mark. The log keeps milliseconds.
    pub time: SystemTime,
    /// The SHA-256 hash of its token.
    pub token: [u8; 32],
    /// The hash of its client.
    pub agent: [u8; 16],
    /// Its user, at most 255 bytes.
    pub user: String,
    /// Its rooms, each with the offset up to which its client has all events.
    pub rooms: Vec<(String, u64)>,
}

impl Mark {
    /// Appends the frame of the mark to `out`.
    ///
    /// # Errors
    /// Returns [`InvalidRecord`] if a part is too long; `out` is as before then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
        let start = out.len();
        let result = encode_frame(out, |out| match self {
            Self::Session(mark) => mark.encode(out),
            Self::Confirmed { session, offset } => {
                out.push(CONFIRMED);
                out.extend_from_slice(&session.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                Ok(())
            }
            Self::Ended { session } => {
                out.push(ENDED);
                out.extend_from_slice(&session.to_le_bytes());
                Ok(())
            }
        });
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Returns the mark in the payload of `kind`, or `None` if it is malformed.
    pub(super) fn decode(kind: u8, mut fields: Fields<'_>) -> Option<Self> {
        let session = u64::from_le_bytes(fields.array()?);
        let mark = match kind {
            SESSION => Self::Session(SessionMark::decode(session, &mut fields)?),
            CONFIRMED => Self::Confirmed {
                session,
                offset: u64::from_le_bytes(fields.array()?),
            },
            _ => Self::Ended { session },
        };
        fields.is_empty().then_some(mark)
    }
}

impl SessionMark {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
        out.push(SESSION);
        out.extend_from_slice(&self.session.to_le_bytes());
        out.push(self.is_lost.into());
        out.extend_from_slice(&millis_of(self.time).to_le_bytes());
        out.extend_from_slice(&self.token);
        out.extend_from_slice(&self.agent);
        let length = u8::try_from(self.user.len()).map_err(|_| InvalidRecord::Size)?;
        out.push(length);
        out.extend_from_slice(self.user.as_bytes());
        let count = u16::try_from(self.rooms.len()).map_err(|_| InvalidRecord::Size)?;
        out.extend_from_slice(&count.to_le_bytes());
        for (room, offset) in &self.rooms {
            let length = u16::try_from(room.len()).map_err(|_| InvalidRecord::Room)?;
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(room.as_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        Ok(())
    }

    fn decode(session: u64, fields: &mut Fields<'_>) -> Option<Self> {
        let [state] = fields.array()?;
        let time = time_of(u64::from_le_bytes(fields.array()?))?;
        let (token, agent) = (fields.array()?, fields.array()?);
        let [length] = fields.array()?;
        let user = fields.text(length.into())?;
        let count = u16::from_le_bytes(fields.array()?);
        let mut rooms = Vec::new();
        for _ in 0..count {
            let length = u16::from_le_bytes(fields.array()?);
            let room = fields.text(length.into())?;
            rooms.push((room, u64::from_le_bytes(fields.array()?)));
        }
        Some(Self {
            session,
            is_lost: match state {
                0 => false,
                1 => true,
                _ => return None,
            },
            time,
            token,
            agent,
            user,
            rooms,
        })
    }
}

pub(super) const SESSION: u8 = 5;
pub(super) const CONFIRMED: u8 = 6;
pub(super) const ENDED: u8 = 7;
