//! The question of Laravel about who has received an event.

use hyper::StatusCode;

use super::failure::Failure;
use crate::core::position::{NotAPosition, Position};
use crate::introspection::{Introspection, NoReceipts, ReceiptReport};
use crate::rooms::Gap;

/// Returns the report about the event at `position`.
///
/// # Errors
/// Returns the failure to respond with if `position` is invalid, or if the edge cannot tell.
pub(super) fn report(
    introspection: &Introspection,
    position: &str,
) -> Result<ReceiptReport, Failure> {
    let position: Position = position.parse().map_err(|error: NotAPosition| {
        let message = error.to_string();
        Failure::new(StatusCode::BAD_REQUEST, "invalid_position", message)
    })?;
    introspection.receipts(position).map_err(Failure::from)
}

impl From<NoReceipts> for Failure {
    fn from(reason: NoReceipts) -> Self {
        match reason {
            NoReceipts::Event(Gap::Disabled) => Self::new(
                StatusCode::CONFLICT,
                "history_disabled",
                "the edge has no receipts because history.enabled is false; set it to true",
            ),
            NoReceipts::OldClientsOff => Self::new(
                StatusCode::CONFLICT,
                "old_clients_off",
                "the edge has no receipts because history.old_clients is \"off\"; set it to \
                 \"resume\"",
            ),
            NoReceipts::Event(Gap::OtherEpoch) => Self::new(
                StatusCode::NOT_FOUND,
                "other_epoch",
                "the position is of another edge, or from before this edge began to number its \
                 events anew; ask about an event that this edge has published since",
            ),
            NoReceipts::Event(Gap::Ahead) => Self::new(
                StatusCode::NOT_FOUND,
                "ahead",
                "no event has this position yet; use one from the response to POST /broadcast",
            ),
            NoReceipts::Event(Gap::Invalid | Gap::TooOld | Gap::TooMuch) => Self::new(
                StatusCode::GONE,
                "too_old",
                "the edge no longer keeps this event; ask sooner, or raise history.max_age, \
                 history.max_events_per_room or history.max_memory",
            ),
        }
    }
}
