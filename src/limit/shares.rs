//! So many at once for each client, whatever is counted.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::client::ClientKey;
use crate::units::Count;

/// Counts how much of something each client holds. Cheap to clone; clones count
/// together. A client that holds nothing costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    held: Arc<Mutex<HashMap<ClientKey, u32>>>,
}

/// One of a client's shares; given back on drop.
#[derive(Debug)]
pub struct Share {
    client: ClientKey,
    held: Arc<Mutex<HashMap<ClientKey, u32>>>,
}

impl Shares {
    /// One more for `client`, unless it has `most` already.
    pub fn share(&self, client: ClientKey, most: Count) -> Option<Share> {
        let mut held = self.held.lock();
        let count = held.entry(client).or_insert(0);
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        Some(Share {
            client,
            held: Arc::clone(&self.held),
        })
    }

    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.held.lock().is_empty()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.client);
            }
        }
    }
}
