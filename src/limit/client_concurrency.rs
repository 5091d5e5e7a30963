//! Concurrency limits per client, for anything that is counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ClientKeys;
use crate::core::client_ip::ClientKey;
use crate::core::units::PositiveCount;

/// Counts the permits of each client and of each IPv6 site. Cheap to clone; clones count
/// together. A client without a permit takes no memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientConcurrency {
    counts: Arc<Mutex<PermitCounts>>,
}

/// The permits in use; there are no entries of zero.
#[derive(Debug, Default)]
struct PermitCounts {
    clients: HashMap<ClientKey, u32>,
    sites: HashMap<ClientKey, u32>,
}

/// One permit of a client, released on drop.
#[derive(Debug)]
pub(crate) struct ClientPermit {
    keys: ClientKeys,
    counts: Arc<Mutex<PermitCounts>>,
}

impl ClientConcurrency {
    /// Returns a permit, or `None` if the client has `most` already, or its site `most`
    /// times the site multiple.
    pub(crate) fn acquire(
        &self,
        client: impl Into<ClientKeys>,
        most: PositiveCount,
    ) -> Option<ClientPermit> {
        let keys = client.into();
        let mut counts = self.counts.lock();
        if !increment(&mut counts.clients, keys.client(), most.get()) {
            return None;
        }
        if let Some(site) = keys.site()
            && !increment(&mut counts.sites, site.key, site.most(most))
        {
            decrement(&mut counts.clients, keys.client());
            return None;
        }
        Some(ClientPermit {
            keys,
            counts: Arc::clone(&self.counts),
        })
    }

    /// Returns whether there are no permits, and so no entries.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        let counts = self.counts.lock();
        counts.clients.is_empty() && counts.sites.is_empty()
    }
}

/// Adds one unless the count is `max` already; returns whether it did. `max` is above 0, so
/// no entry of zero is left.
fn increment(counts: &mut HashMap<ClientKey, u32>, key: ClientKey, max: u32) -> bool {
    let count = counts.entry(key).or_insert(0);
    let has_room = *count < max;
    *count += u32::from(has_room);
    has_room
}

fn decrement(counts: &mut HashMap<ClientKey, u32>, key: ClientKey) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        decrement(&mut counts.clients, self.keys.client());
        if let Some(site) = self.keys.site() {
            decrement(&mut counts.sites, site.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client_ip::ClientIp;
    use crate::limit::keys::Site;

    /// Returns a client of the site 2001:db8::/48, whose multiple is 3.
    fn client(network: u16) -> ClientKeys {
        let ip = ClientIp::new([0x2001, 0xdb8, 0, network, 0, 0, 0, 1].into());
        let site = Site::new(ip.key(48), PositiveCount::new(3));
        ClientKeys::new(ip.key(64), Some(site))
    }

    #[test]
    fn ipv6_networks_of_one_site_share_its_slots() {
        let (shares, most) = (ClientConcurrency::default(), PositiveCount::new(2));
        let of = |network| shares.acquire(client(network), most);
        // 2001:db8:0:0::/64 and its site have the same key, and are counted apart.
        let mut held: Vec<_> = [0, 0, 1, 1, 2, 2].map(of).into();
        assert!(held.iter().all(Option::is_some));
        assert!(of(0).is_none() && of(3).is_none());
        held.pop();
        assert!(of(3).is_some());
        held.clear();
        assert!(shares.is_unused());
    }
}
