//! Connections at once, in all and per client.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;
use crate::client::ClientKey;

/// Counts connections. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Connections {
    slots: Arc<Semaphore>,
    clients: Arc<Mutex<HashMap<ClientKey, u32>>>,
    per_client: u32,
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
    key: ClientKey,
    clients: Arc<Mutex<HashMap<ClientKey, u32>>>,
    _slot: Slot,
}

impl Connections {
    /// No connection yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(settings.connections.get() as usize)),
            clients: Arc::default(),
            per_client: settings.connections_per_client.get(),
        }
    }

    /// Waits until there is room for one more. Taken before `accept`, so that
    /// what is too much waits in the kernel's backlog. Cancel-safe.
    pub async fn slot(&self) -> Slot {
        let slots = Arc::clone(&self.slots);
        Slot {
            _permit: slots.acquire_owned().await.expect("never closed"),
        }
    }

    /// Gives `slot` to `client`, or to nobody if the client has its share.
    pub fn admit(&self, slot: Slot, client: ClientKey) -> Option<Permit> {
        let mut clients = self.clients.lock();
        let held = clients.entry(client).or_insert(0);
        if *held >= self.per_client {
            return None;
        }
        *held += 1;
        Some(Permit {
            key: client,
            clients: Arc::clone(&self.clients),
            _slot: slot,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut clients = self.clients.lock();
        if let Some(held) = clients.get_mut(&self.key) {
            *held -= 1;
            if *held == 0 {
                clients.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use futures_util::FutureExt;

    use super::*;
    use crate::client::ClientIp;

    fn connections(all: u32, per_client: u32) -> Connections {
        Connections::new(&Settings {
            connections: NonZeroU32::new(all).unwrap(),
            connections_per_client: NonZeroU32::new(per_client).unwrap(),
            ..Settings::default()
        })
    }

    fn client(last: u8) -> ClientKey {
        ClientIp::new([192, 0, 2, last].into()).key()
    }

    #[tokio::test]
    async fn one_client_cannot_take_more_than_its_share() {
        let connections = connections(10, 1);
        let first = connections.admit(connections.slot().await, client(1));
        assert!(first.is_some());
        assert!(
            connections
                .admit(connections.slot().await, client(1))
                .is_none()
        );
        assert!(
            connections
                .admit(connections.slot().await, client(2))
                .is_some()
        );
        drop(first);
        assert!(
            connections
                .admit(connections.slot().await, client(1))
                .is_some()
        );
        assert!(connections.clients.lock().is_empty());
    }

    #[tokio::test]
    async fn beyond_the_total_the_next_one_waits() {
        let connections = connections(1, 1);
        let permit = connections.admit(connections.slot().await, client(1));
        assert!(connections.slot().now_or_never().is_none());
        drop(permit);
        assert!(connections.slot().now_or_never().is_some());
    }
}
