//! Concurrency limits in total and per client: connections, TLS handshakes, requests in
//! flight, open files, encoders.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::{ClientConcurrency, ClientKeys, ClientPermit};
use crate::core::client_ip::ClientKey;
use crate::core::units::PositiveCount;
use crate::runtime::fair_semaphore::{FairPermit, FairSemaphore};

/// Limits connections or anything else that is held for a while, in total and per client.
/// Cheap to clone; clones count together.
///
/// A [`Slot`] is one unit of the total, a [`ClientPermit`] one of the client, and a
/// [`Permit`] has both.
#[derive(Clone, Debug)]
pub(crate) struct ConcurrencyLimit {
    slots: FairSemaphore<ClientKey>,
    in_use: Arc<AtomicUsize>,
    clients: ClientConcurrency,
}

/// One unit of the total, released on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: FairPermit<ClientKey>,
}

/// One unit of the total and of the client, released on drop. The permit of a connection
/// lives as long as the connection, or the WebSocket session on it.
#[derive(Debug)]
pub(crate) struct Permit {
    _client: Option<ClientPermit>,
    _slot: Slot,
    in_use: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_use.fetch_sub(1, Relaxed);
    }
}

impl ConcurrencyLimit {
    /// Creates a limit of `all` units in total.
    pub(crate) fn new(all: PositiveCount) -> Self {
        Self {
            slots: FairSemaphore::new(all.size()),
            in_use: Arc::default(),
            clients: ClientConcurrency::default(),
        }
    }

    /// Returns the number of permits in use. Slots without a permit do not count.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    /// Waits for a slot of a client that is not known yet. A listener calls this before
    /// `accept`, so that excess connections wait in the kernel's backlog. Cancel-safe.
    pub(crate) async fn acquire_slot(&self) -> Slot {
        let permit = self.slots.acquire(None).await;
        Slot { _permit: permit }
    }

    /// Returns a permit of the client's own, or `None` if it has `most` already. It must be
    /// acquired before waiting for a slot, since it bounds the client's queue there.
    pub(crate) fn share(&self, client: ClientKeys, most: PositiveCount) -> Option<ClientPermit> {
        self.clients.acquire(client, most)
    }

    /// Waits up to `timeout` for a slot of `client`. Clients are served round-robin, and
    /// each holds at most half of the total; `None` stands for one without this bound.
    /// Cancel-safe.
    pub(crate) async fn acquire_slot_within(
        &self,
        timeout: Duration,
        client: Option<ClientKeys>,
    ) -> Option<Slot> {
        let key = client.map(ClientKeys::client);
        // The common case needs no timer. The rare one is boxed, so that the caller's
        // future reserves no room for it.
        let permit = match self.slots.try_acquire(key) {
            Some(permit) => Some(permit),
            None => Box::pin(tokio::time::timeout(timeout, self.slots.acquire(key)))
                .await
                .ok(),
        };
        permit.map(|permit| Slot { _permit: permit })
    }

    /// Returns a permit for `client`, or `None` if it has `most` already or no slot is free.
    pub(crate) fn try_permit(&self, client: ClientKeys, most: PositiveCount) -> Option<Permit> {
        let client_permit = self.share(client, most)?;
        let permit = self.slots.try_acquire(Some(client.client()))?;
        Some(self.permit(Some(client_permit), Slot { _permit: permit }))
    }

    /// Makes `slot` a permit of `client`.
    ///
    /// # Errors
    /// Returns the slot, for another client, if this one has `most` permits already.
    pub(crate) fn admit(
        &self,
        slot: Slot,
        client: ClientKeys,
        most: PositiveCount,
    ) -> Result<Permit, Slot> {
        match self.clients.acquire(client, most) {
            Some(client_permit) => Ok(self.permit(Some(client_permit), slot)),
            None => Err(slot),
        }
    }

    /// Makes `slot` a permit without a limit per client: for a trusted proxy, which
    /// connects for many clients, or for a client that is exempt.
    pub(crate) fn admit_unlimited(&self, slot: Slot) -> Permit {
        self.permit(None, slot)
    }

    /// Combines `slot` with the client's own permit; a client that is exempt has none.
    pub(crate) fn permit(&self, client: Option<ClientPermit>, slot: Slot) -> Permit {
        self.in_use.fetch_add(1, Relaxed);
        Permit {
            _client: client,
            _slot: slot,
            in_use: Arc::clone(&self.in_use),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::core::client_ip::ClientIp;

    const ONE: PositiveCount = PositiveCount::new(1);

    fn client(last: u8) -> ClientKeys {
        ClientIp::new([192, 0, 2, last].into()).key(64).into()
    }

    #[tokio::test]
    async fn client_above_its_share_is_rejected() {
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
    async fn connection_beyond_the_total_waits() {
        let connections = ConcurrencyLimit::new(PositiveCount::new(1));
        let permit = connections.admit(connections.acquire_slot().await, client(1), ONE);
        assert!(connections.acquire_slot().now_or_never().is_none());
        drop(permit);
        assert!(connections.acquire_slot().now_or_never().is_some());
    }
}
