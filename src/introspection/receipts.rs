//! The report about who has received an event.

use std::collections::HashSet;

use serde::Serialize;

use super::Introspection;
use crate::core::ids::UserId;
use crate::core::position::Position;
use crate::rooms::{EventReceipts, Gap};

/// The response to `GET /positions/{position}/receipts`.
#[derive(Debug, Serialize)]
pub(crate) struct ReceiptReport {
    position: String,
    room: String,
    /// The users of whom a session has confirmed the event.
    confirmed: HashSet<UserId>,
    /// The users with an open session that has not.
    pending: HashSet<UserId>,
    /// The users with a lost session whose client gets the event if it returns.
    parked: HashSet<UserId>,
    /// Whether `confirmed` is known to lack nobody.
    complete: bool,
}

/// The reason why there is no report about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoReceipts {
    /// `history.old_clients` is off, so sessions have no receipts.
    OldClientsOff,
    /// The event is not known.
    Event(Gap),
}

impl Introspection {
    /// Returns who has confirmed the event at `position`. Sends nothing to a client.
    ///
    /// # Errors
    /// Returns the reason why it cannot be told.
    pub(crate) fn receipts(&self, position: Position) -> Result<ReceiptReport, NoReceipts> {
        let event = self.rooms.find_event(position);
        if self.rooms.parked().is_none() && !matches!(event, Err(Gap::Disabled)) {
            return Err(NoReceipts::OldClientsOff);
        }
        let event = event.map_err(NoReceipts::Event)?;
        let EventReceipts {
            confirmed,
            pending,
            parked,
            is_complete,
        } = self.sessions.receipts(&event);
        Ok(ReceiptReport {
            position: position.to_string(),
            room: event.room().to_string(),
            confirmed,
            pending,
            parked,
            complete: is_complete,
        })
    }
}
