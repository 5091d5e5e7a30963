//! The wait of a publisher for sessions that were not served yet.

use std::time::Duration;

use super::Rooms;
use crate::core::ids::RoomName;

impl Rooms {
    /// Returns whether sessions in `rooms` have much queued and were not served.
    pub(crate) fn is_any_behind<'a>(&self, mut rooms: impl Iterator<Item = &'a RoomName>) -> bool {
        rooms.any(|name| self.find(name).is_some_and(|room| room.is_behind()))
    }

    /// Waits while sessions in `rooms` have much queued and were not served: otherwise a fast
    /// publisher would overflow the queues of clients that read well. Never waits for a
    /// client, and at most 250 ms. Cancel-safe.
    pub(crate) async fn apply_backpressure(&self, rooms: &[RoomName]) {
        let catching_up = async {
            while self.is_any_behind(rooms.iter()) {
                tokio::task::yield_now().await;
            }
        };
        // After the timeout the caller publishes anyway, as far as the queues hold it.
        let _ = tokio::time::timeout(BACKPRESSURE_TIMEOUT, catching_up).await;
    }
}

/// Well below the second that Laravel's client waits for the response.
pub(super) const BACKPRESSURE_TIMEOUT: Duration = Duration::from_millis(250);
