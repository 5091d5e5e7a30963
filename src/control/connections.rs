//! The connections of the socket: their maximum, and the idle one that makes room for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::runtime::activity::ActivityTracker;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Arc<Semaphore>,
    open: Mutex<Open>,
}

/// The connections by their number.
#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Handle>,
    next: u64,
}

#[derive(Debug)]
struct Handle {
    activity: ActivityTracker,
    evicted: CancellationToken,
}

/// One connection, which counts until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    /// Records its requests.
    pub(super) activity: ActivityTracker,
    /// Cancelled when it must make room for another.
    pub(super) evicted: CancellationToken,
    /// Whether it had to wait for its place.
    pub(super) has_waited: bool,
    number: u64,
    connections: Arc<Connections>,
    _slot: OwnedSemaphorePermit,
}

impl Connections {
    /// Creates a set of at most `max` connections.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(max)),
            open: Mutex::default(),
        })
    }

    /// Waits for a place. If all are taken, the connection that is idle for longest makes
    /// room. Cancel-safe.
    pub(super) async fn admit(self: &Arc<Self>) -> Connection {
        let mut has_waited = false;
        let slot = loop {
            let acquiring = Arc::clone(&self.slots).acquire_owned();
            if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
                break slot;
            }
            has_waited = true;
            self.evict_idlest();
            // Without an idle connection the next look comes soon.
            if let Ok(Ok(slot)) = tokio::time::timeout(MIN_IDLE_TIME, acquiring).await {
                break slot;
            }
        };
        let (activity, evicted) = (ActivityTracker::new(), CancellationToken::new());
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        let handle = Handle {
            activity: activity.clone(),
            evicted: evicted.clone(),
        };
        open.connections.insert(number, handle);
        drop(open);
        Connection {
            activity,
            evicted,
            has_waited,
            number,
            connections: Arc::clone(self),
            _slot: slot,
        }
    }

    /// Ends the connection without a request that is idle for longest, if one is for
    /// [`MIN_IDLE_TIME`]: the client of a new one is about to send a request.
    fn evict_idlest(&self) {
        let open = self.open.lock();
        let idle = open
            .connections
            .values()
            .filter(|handle| !handle.activity.is_active() && !handle.evicted.is_cancelled());
        let idlest = idle.max_by_key(|handle| handle.activity.idle_time());
        if let Some(handle) = idlest.filter(|handle| handle.activity.idle_time() >= MIN_IDLE_TIME) {
            handle.evicted.cancel();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.connections.remove(&self.number);
    }
}

/// The time without a request after which a connection may have to make room.
const MIN_IDLE_TIME: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idlest_connection_makes_room_for_another() {
        let connections = Connections::new(3);
        let busy = connections.admit().await;
        let _request = busy.activity.begin_exchange();
        let (idlest, idle) = (connections.admit().await, connections.admit().await);
        tokio::time::advance(MIN_IDLE_TIME).await;
        idle.activity.record();
        tokio::time::advance(MIN_IDLE_TIME).await;
        let next = connections.admit();
        let evicted = async {
            idlest.evicted.cancelled().await;
            drop(idlest);
        };
        let (next, ()) = tokio::join!(next, evicted);
        assert!(next.has_waited && !idle.evicted.is_cancelled() && !busy.evicted.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn new_and_busy_connections_are_not_evicted() {
        let connections = Connections::new(2);
        let (busy, new) = (connections.admit().await, connections.admit().await);
        let _request = busy.activity.begin_exchange();
        assert!(connections.admit().now_or_never().is_none());
        assert!(!new.evicted.is_cancelled() && !busy.evicted.is_cancelled());
    }
}
