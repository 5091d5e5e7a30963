//! A publish request of Laravel, as the event log stores it.

use std::thread;

use tokio::sync::oneshot;

use crate::event_log::{Event, RequestKey};
use crate::rooms::{Broadcast, Delivered};

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

impl Request {
    pub(super) fn rooms(&self) -> Vec<String> {
        let rooms = self.broadcasts.iter().map(|broadcast| &broadcast.room);
        rooms.map(ToString::to_string).collect()
    }

    pub(super) fn events<'a>(&'a self, rooms: &'a [String]) -> Vec<Event<'a>> {
        let broadcasts = self.broadcasts.iter().zip(rooms);
        broadcasts
            .map(|(broadcast, room)| Event {
                room,
                text: &broadcast.text,
            })
            .collect()
    }
}
