//! Connections at once, in all and per client; requests at once likewise.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::{ClientConcurrency, ClientKeys, ClientPermit};
use crate::core::client::ClientKey;
use crate::core::units::PositiveCount;
use crate::runtime::fair::{FairPermit, FairSemaphore};

/// Counts connections, or what else is held for a while. Cheap to clone; clones
/// count together.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    slots: FairSemaphore<ClientKey>,
    held: Arc<AtomicUsize>,
    clients: ClientConcurrency,
}

/// Room for one connection.
#[derive(Debug)]
pub struct Slot {
    _turn: FairPermit<ClientKey>,
}

/// The right of one client to one connection; given back on drop. It lives as
/// long as the connection, the WebSocket session on it included.
#[derive(Debug)]
pub struct Permit {
    _share: Option<ClientPermit>,
    _slot: Slot,
    held: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Relaxed);
    }
}

impl ConcurrencyLimit {
    /// None yet; at most `all`.
    pub fn new(all: PositiveCount) -> Self {
        Self {
            slots: FairSemaphore::new(all.size()),
            held: Arc::default(),
            clients: ClientConcurrency::default(),
        }
    }

    /// How many there are.
    pub fn in_use(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Waits until there is room for one more of whoever comes next. Taken before
    /// `accept`, so that what is too much waits in the kernel's backlog. Cancel-safe.
    pub async fn acquire_slot(&self) -> Slot {
        let turn = self.slots.acquire(None).await;
        Slot { _turn: turn }
    }

    /// The right of `client` to one of `most` of its own, those that it waits for
    /// included. To be asked for before a slot, or one client's queue would be before
    /// everybody's.
    pub fn share(&self, client: ClientKeys, most: PositiveCount) -> Option<ClientPermit> {
        self.clients.acquire(client, most)
    }

    /// A slot for `client`, if its turn comes within `patience`: clients have turns,
    /// and hold half of all at most. Without a key there is no such bound.
    pub async fn acquire_slot_within(
        &self,
        patience: Duration,
        client: Option<ClientKeys>,
    ) -> Option<Slot> {
        let key = client.map(ClientKeys::client);
        // Mostly one is free that nobody waits for: no clock, and no room for one.
        let turn = match self.slots.try_acquire(key) {
            Some(turn) => Some(turn),
            None => Box::pin(tokio::time::timeout(patience, self.slots.acquire(key)))
                .await
                .ok(),
        };
        turn.map(|turn| Slot { _turn: turn })
    }

    /// One of `most` of `client`'s own, if there is a slot for it now.
    pub fn try_permit(&self, client: ClientKeys, most: PositiveCount) -> Option<Permit> {
        let share = self.share(client, most)?;
        let turn = self.slots.try_acquire(Some(client.client()))?;
        Some(self.permit(Some(share), Slot { _turn: turn }))
    }

    /// Gives `acquire_slot` to `client`.
    ///
    /// # Errors
    /// The client has `most` already: the slot is still to be given.
    pub fn admit(
        &self,
        slot: Slot,
        client: ClientKeys,
        most: PositiveCount,
    ) -> Result<Permit, Slot> {
        match self.clients.acquire(client, most) {
            Some(share) => Ok(self.permit(Some(share), slot)),
            None => Err(slot),
        }
    }

    /// Gives `acquire_slot` to somebody who may have as many as there are: a proxy of
    /// ours, which asks for many clients, or a client without limits.
    pub fn admit_unlimited(&self, slot: Slot) -> Permit {
        self.permit(None, slot)
    }

    /// Gives `acquire_slot` to whoever has `acquire`, or has no limits.
    pub fn permit(&self, share: Option<ClientPermit>, slot: Slot) -> Permit {
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
    use crate::core::client::ClientIp;

    const ONE: PositiveCount = PositiveCount::new(1);

    fn client(last: u8) -> ClientKeys {
        ClientIp::new([192, 0, 2, last].into()).key(64).into()
    }

    #[tokio::test]
    async fn one_client_cannot_take_more_than_its_share() {
        let connections = ConcurrencyLimit::new(PositiveCount::new(10));
        let first = connections.admit(connections.acquire_slot().await, client(1), ONE);
        assert!(first.is_ok());
        assert!(
            connections
                .admit(connections.acquire_slot().await, client(1), ONE)
                .is_err()
        );
        assert!(
            connections
                .admit(connections.acquire_slot().await, client(2), ONE)
                .is_ok()
        );
        drop(first);
        assert!(
            connections
                .admit(connections.acquire_slot().await, client(1), ONE)
                .is_ok()
        );
        assert!(connections.clients.is_unused());
    }

    #[tokio::test]
    async fn beyond_the_total_the_next_one_waits() {
        let connections = ConcurrencyLimit::new(PositiveCount::new(1));
        let permit = connections.admit(connections.acquire_slot().await, client(1), ONE);
        assert!(connections.acquire_slot().now_or_never().is_none());
        drop(permit);
        assert!(connections.acquire_slot().now_or_never().is_some());
    }
}
