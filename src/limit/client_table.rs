//! A table of per-client state with bounded memory and eviction.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::TokioClock;
use crate::core::client_ip::ClientKey;

/// A table of per-client state. When it is full, it evicts the clients that lose least by
/// it, and never a client that is over a limit, so a flood from many addresses does not
/// reset the limit of an abusive one.
#[derive(Debug)]
pub(super) struct ClientTable<V> {
    /// Clients are spread over shards, each with its own lock, so that threads rarely wait
    /// for each other and an eviction blocks a small part of the clients. No operation
    /// holds two of the locks.
    shards: Box<[Mutex<Shard<V>>]>,
    /// Randomly seeded, so an attacker cannot fill one shard on purpose.
    hasher: RandomState,
    clock: TokioClock,
    max_shard_entries: usize,
}

#[derive(Debug)]
struct Shard<V> {
    entries: HashMap<ClientKey, V>,
    /// The state that all new clients share while every entry of the shard is over a limit
    /// and cannot be evicted.
    overflow: V,
}

/// Per-client state that can be evicted.
pub(super) trait Evictable: Default {
    /// Returns how much is lost if the state is evicted at the time `now`.
    fn eviction_priority(&self, now: Duration) -> EvictionPriority;
}

/// The loss by the eviction of one client's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EvictionPriority {
    /// Nothing is lost: the state equals that of a new client.
    Nothing,
    /// Something is lost: the longer the duration, the later the state is evicted.
    Some(Duration),
    /// The client is over a limit, so its state is never evicted.
    Kept,
}

impl<V: Evictable> ClientTable<V> {
    /// Creates an empty table of clients.
    pub(super) fn new(clock: TokioClock) -> Self {
        Self::with_size(clock, SHARD_COUNT, MAX_SHARD_ENTRIES)
    }

    /// Creates an empty table of IPv6 sites, which is smaller, since there are fewer.
    pub(super) fn of_sites(clock: TokioClock) -> Self {
        Self::with_size(clock, SHARD_COUNT, MAX_SHARD_ENTRIES / SITE_TABLE_DIVISOR)
    }

    fn with_size(clock: TokioClock, shards: usize, max_shard_entries: usize) -> Self {
        let shard = || Shard {
            entries: HashMap::new(),
            overflow: V::default(),
        };
        Self {
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
            clock,
            max_shard_entries,
        }
    }

    /// Calls `act` with the state of `client`, which is created if needed, and returns its
    /// result. The lock of the shard is held meanwhile, so `act` must not use the table.
    pub(super) fn with_entry<T>(&self, client: ClientKey, act: impl FnOnce(&mut V) -> T) -> T {
        let number = self.hasher.hash_one(client) as usize % self.shards.len();
        let mut shard = self.shards[number].lock();
        if let Some(state) = shard.entries.get_mut(&client) {
            return act(state);
        }
        if shard.entries.len() >= self.max_shard_entries {
            shard.evict(self.clock.elapsed(), self.max_shard_entries);
        }
        if shard.entries.len() < self.max_shard_entries {
            act(shard.entries.entry(client).or_default())
        } else {
            act(&mut shard.overflow)
        }
    }

    /// Removes the states that equal that of a new client, and frees their memory.
    pub(super) fn forget_idle(&self) {
        let now = self.clock.elapsed();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.forget_idle(now);
            shard.entries.shrink_to_fit();
        }
    }

    /// Returns the bytes of a full table: a hash table has one control byte beside each
    /// entry.
    #[cfg(test)]
    pub(super) fn max_bytes() -> usize {
        SHARD_COUNT * MAX_SHARD_ENTRIES.next_power_of_two() * (size_of::<(ClientKey, V)>() + 1)
    }

    /// Returns the bytes of a full table of sites.
    #[cfg(test)]
    pub(super) fn most_bytes_of_sites() -> usize {
        Self::max_bytes() / SITE_TABLE_DIVISOR
    }

    /// Returns the number of clients with a state of their own.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let entries = self.shards.iter().map(|shard| shard.lock().entries.len());
        entries.sum()
    }
}

impl<V: Evictable> Shard<V> {
    fn forget_idle(&mut self, now: Duration) {
        self.entries
            .retain(|_, entry| entry.eviction_priority(now) != EvictionPriority::Nothing);
    }

    /// Evicts an eighth of the entries, those with the lowest priority. In a flood of new
    /// clients the search then runs once for many of them.
    fn evict(&mut self, now: Duration, max_entries: usize) {
        self.forget_idle(now);
        let wanted = max_entries / 8 + 1;
        let free = max_entries.saturating_sub(self.entries.len());
        if free >= wanted {
            return;
        }
        let rank = |entry: &V| match entry.eviction_priority(now) {
            EvictionPriority::Some(rank) => Some(rank),
            EvictionPriority::Nothing | EvictionPriority::Kept => None,
        };
        let mut ranks: Vec<_> = self.entries.values().filter_map(rank).collect();
        if ranks.is_empty() {
            return;
        }
        // Only the highest rank to evict is needed, which is cheaper than sorting.
        let nth = (wanted - free - 1).min(ranks.len() - 1);
        let highest_evicted = *ranks.select_nth_unstable(nth).1;
        self.entries
            .retain(|_, entry| rank(entry).is_none_or(|rank| rank > highest_evicted));
    }
}

const SHARD_COUNT: usize = 16;
/// The entries that a hash table of 4096 buckets holds before it grows, at a load of 7/8.
/// All shards together hold 57 344 clients.
const MAX_SHARD_ENTRIES: usize = 3584;
/// A table of sites has this many times fewer entries than one of clients.
const SITE_TABLE_DIVISOR: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client_ip::ClientIp;

    #[derive(Default)]
    struct Entry(u64);

    impl Evictable for Entry {
        fn eviction_priority(&self, _: Duration) -> EvictionPriority {
            match self.0 {
                0 => EvictionPriority::Nothing,
                u64::MAX => EvictionPriority::Kept,
                rank => EvictionPriority::Some(Duration::from_secs(rank)),
            }
        }
    }

    fn client(n: u32) -> ClientKey {
        ClientIp::new(std::net::Ipv4Addr::from_bits(n).into()).key(64)
    }

    #[tokio::test(start_paused = true)]
    async fn client_table_in_a_flood_stays_bounded_and_keeps_offenders() {
        let table = ClientTable::<Entry>::with_size(TokioClock::new(), 1, 80);
        for n in 0..20 {
            table.with_entry(client(n), |entry| entry.0 = u64::MAX);
        }
        table.with_entry(client(20), |entry| entry.0 = 1_000_000);
        for n in 100..1_000 {
            table.with_entry(client(n), |entry| entry.0 = 1 + u64::from(n));
            assert!(table.len() <= 80);
        }
        for n in 0..20 {
            assert_eq!(table.with_entry(client(n), |entry| entry.0), u64::MAX);
        }
        assert_eq!(table.with_entry(client(20), |entry| entry.0), 1_000_000);
        assert_eq!(
            table.with_entry(client(100), |entry| entry.0),
            0,
            "the least"
        );
        for n in 0..200 {
            table.with_entry(client(n), |entry| entry.0 = 0);
        }
        table.forget_idle();
        assert!(table.len() < 80);
    }

    #[tokio::test(start_paused = true)]
    async fn new_clients_in_a_table_of_offenders_share_one_entry() {
        let table = ClientTable::<Entry>::with_size(TokioClock::new(), 1, 4);
        for n in 0..4 {
            table.with_entry(client(n), |entry| entry.0 = u64::MAX);
        }
        table.with_entry(client(9), |entry| entry.0 = 7);
        assert_eq!(table.with_entry(client(10), |entry| entry.0), 7);
        assert_eq!(table.len(), 4);
    }
}
