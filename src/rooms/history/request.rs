//! A publish request of Laravel, as the event log stores it.

use std::thread;

use tokio::sync::oneshot;

use crate::core::ids::{SessionId, UserId};
use crate::event_log::{Event, Except, RequestKey};
use crate::rooms::{Audience, Broadcast, Delivered};

/// The key and the digest that identify a request of Laravel in the log, so that a retry after
/// a restart does not publish its events again.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    /// The `Idempotency-Key`.
    pub(crate) key: String,
    /// The SHA-256 digest of the request's body.
    pub(crate) digest: [u8; 32],
}

/// A publish request of Laravel.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Option<RequestId>,
    pub(super) broadcasts: Vec<Broadcast>,
    /// Gets the result, or the panic of the delivery.
    pub(super) done: oneshot::Sender<thread::Result<Vec<Delivered>>>,
}

impl RequestId {
    pub(super) fn key(&self) -> RequestKey<'_> {
        RequestKey {
            key: &self.key,
            digest: self.digest,
        }
    }
}

/// What the events of a request name, as the log stores it.
#[derive(Debug)]
pub(super) struct Names {
    room: String,
    except: Option<Except<String>>,
}

impl Request {
    pub(super) fn names(&self) -> Vec<Names> {
        let broadcasts = self.broadcasts.iter();
        broadcasts
            .map(|broadcast| Names {
                room: broadcast.room.to_string(),
                except: broadcast.audience.to_except(),
            })
            .collect()
    }

    pub(super) fn events<'a>(&'a self, names: &'a [Names]) -> Vec<Event<'a>> {
        let broadcasts = self.broadcasts.iter().zip(names);
        broadcasts
            .map(|(broadcast, names)| Event {
                room: &names.room,
                text: &broadcast.text,
                except: names.except.as_ref().map(Except::borrowed),
            })
            .collect()
    }
}

impl Audience {
    /// Returns the session that does not get a broadcast. Laravel cannot except all sessions of
    /// a user.
    fn to_except(&self) -> Option<Except<String>> {
        let (session, user) = match self {
            Self::All | Self::OthersThan(_) => return None,
            Self::AllBut(session) => (session, None),
            Self::AllButOwn(session, user) => (session, Some(user.to_string())),
        };
        let session = session.to_bits();
        Some(Except { session, user })
    }

    /// Returns the audience of a broadcast that the log has stored with `except`. With a user
    /// that is none, all get it: twice is better than not at all.
    pub(super) fn from_except(except: Option<Except<String>>) -> Self {
        let Some(Except { session, user }) = except else {
            return Self::All;
        };
        let session = SessionId::from_bits(session);
        match user.as_deref().map(UserId::from_text) {
            None => Self::AllBut(session),
            Some(Some(user)) => Self::AllButOwn(session, user),
            Some(None) => Self::All,
        }
    }
}
