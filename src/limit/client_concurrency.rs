//! So many at once for each client, whatever is counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ClientKeys;
use crate::core::client::ClientKey;
use crate::core::units::PositiveCount;

/// Counts how much of something each client holds, and each IPv6 site. Cheap to clone;
/// clones count together. A client that holds nothing costs nothing.
#[derive(Clone, Debug, Default)]
pub struct ClientConcurrency {
    held: Arc<Mutex<HeldPermits>>,
}

#[derive(Debug, Default)]
struct HeldPermits {
    clients: HashMap<ClientKey, u32>,
    sites: HashMap<ClientKey, u32>,
}

/// One of a client's shares; given back on drop.
#[derive(Debug)]
pub struct ClientPermit {
    keys: ClientKeys,
    held: Arc<Mutex<HeldPermits>>,
}

impl ClientConcurrency {
    /// One more for `client`, unless it has `most` already, or its site the multiple
    /// of that.
    pub fn acquire(
        &self,
        client: impl Into<ClientKeys>,
        most: PositiveCount,
    ) -> Option<ClientPermit> {
        let keys = client.into();
        let mut held = self.held.lock();
        if !add(&mut held.clients, keys.client(), most.get()) {
            return None;
        }
        if let Some(site) = keys.site()
            && !add(&mut held.sites, site.key, site.most(most))
        {
            take_away(&mut held.clients, keys.client());
            return None;
        }
        Some(ClientPermit {
            keys,
            held: Arc::clone(&self.held),
        })
    }

    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        let held = self.held.lock();
        held.clients.is_empty() && held.sites.is_empty()
    }
}

/// One more, unless there are `most`.
fn add(counts: &mut HashMap<ClientKey, u32>, key: ClientKey, most: u32) -> bool {
    let count = counts.entry(key).or_insert(0);
    let fits = *count < most;
    *count += u32::from(fits);
    fits
}

fn take_away(counts: &mut HashMap<ClientKey, u32>, key: ClientKey) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        take_away(&mut held.clients, self.keys.client());
        if let Some(site) = self.keys.site() {
            take_away(&mut held.sites, site.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client::ClientIp;
    use crate::limit::keys::Site;

    /// A client of the site 2001:db8::/48, which has three clients' worth.
    fn client(network: u16) -> ClientKeys {
        let ip = ClientIp::new([0x2001, 0xdb8, 0, network, 0, 0, 0, 1].into());
        let site = Site::new(ip.key(48), PositiveCount::new(3));
        ClientKeys::new(ip.key(64), Some(site))
    }

    #[test]
    fn networks_of_one_site_share_what_it_may_have() {
        let (shares, most) = (ClientConcurrency::default(), PositiveCount::new(2));
        let of = |network| shares.acquire(client(network), most);
        // 2001:db8:0:0::/64 and the site are the same number, and counted apart.
        let mut held: Vec<_> = [0, 0, 1, 1, 2, 2].map(of).into();
        assert!(held.iter().all(Option::is_some));
        assert!(of(0).is_none() && of(3).is_none());
        held.pop();
        assert!(of(3).is_some());
        held.clear();
        assert!(shares.is_unused());
    }
}
