//! Connections at once, in all and per client; requests at once likewise.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Share, Shares};
use crate::client::ClientKey;
use crate::units::Count;

/// Counts connections, or what else is held for a while. Cheap to clone; clones
/// count together.
#[derive(Clone, Debug)]
pub struct Connections {
    slots: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
    clients: Shares,
}

/// Room for one connection of whoever comes next.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// The right of one client to one connection; given back on drop. It lives as
/// long as the connection, the WebSocket session on it included.
#[derive(Debug)]
pub struct Permit {
    _share: Option<Share>,
    _slot: Slot,
    held: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Relaxed);
    }
}

impl Connections {
    /// None yet; at most `all`.
    pub fn new(all: Count) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(all.size())),
            held: Arc::default(),
            clients: Shares::default(),
        }
    }

    /// How many there are.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Waits until there is room for one more. Taken before `accept`, so that
    /// what is too much waits in the kernel's backlog. Cancel-safe.
    pub async fn slot(&self) -> Slot {
        let slots = Arc::clone(&self.slots);
        Slot {
            _permit: slots.acquire_owned().await.expect("never closed"),
        }
    }

    /// [`Connections::slot`], if its turn comes within `patience`.
    pub async fn slot_within(&self, patience: Duration) -> Option<Slot> {
        // Mostly one is free that nobody waits for: no clock, and no room for one.
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => Some(Slot { _permit: permit }),
            Err(_) => Box::pin(tokio::time::timeout(patience, self.slot()))
                .await
                .ok(),
        }
    }

    /// Gives `slot` to `client`.
    ///
    /// # Errors
    /// The client has `most` already: the slot is still to be given.
    pub fn admit(&self, slot: Slot, client: ClientKey, most: Count) -> Result<Permit, Slot> {
        match self.clients.share(client, most) {
            Some(share) => Ok(self.permit(Some(share), slot)),
            None => Err(slot),
        }
    }

    /// Gives `slot` to somebody who may have as many as there are: a proxy of
    /// ours, which asks for many clients, or a client without limits.
    pub fn adopt(&self, slot: Slot) -> Permit {
        self.permit(None, slot)
    }

    fn permit(&self, share: Option<Share>, slot: Slot) -> Permit {
        self.held.fetch_add(1, Relaxed);
        Permit {
            _share: share,
            _slot: slot,
            held: Arc::clone(&self.held),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::client::ClientIp;

    const ONE: Count = Count::new(1);

    fn client(last: u8) -> ClientKey {
        ClientIp::new([192, 0, 2, last].into()).key(64)
    }

    #[tokio::test]
    async fn one_client_cannot_take_more_than_its_share() {
        let connections = Connections::new(Count::new(10));
        let first = connections.admit(connections.slot().await, client(1), ONE);
        assert!(first.is_ok());
        assert!(
            connections
                .admit(connections.slot().await, client(1), ONE)
                .is_err()
        );
        assert!(
            connections
                .admit(connections.slot().await, client(2), ONE)
                .is_ok()
        );
        drop(first);
        assert!(
            connections
                .admit(connections.slot().await, client(1), ONE)
                .is_ok()
        );
        assert!(connections.clients.is_unused());
    }

    #[tokio::test]
    async fn beyond_the_total_the_next_one_waits() {
        let connections = Connections::new(Count::new(1));
        let permit = connections.admit(connections.slot().await, client(1), ONE);
        assert!(connections.slot().now_or_never().is_none());
        drop(permit);
        assert!(connections.slot().now_or_never().is_some());
    }
}
