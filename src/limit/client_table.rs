//! What is remembered of clients, in memory that does not grow with their number.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use super::clock::TokioClock;
use crate::core::client::ClientKey;

/// A table of clients that forgets those first who lose least by it, and never
/// one who is over a limit: a flood from many addresses buys nobody a new start.
#[derive(Debug)]
pub(super) struct ClientTable<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    clock: TokioClock,
    /// Entries of one shard.
    most: usize,
}

#[derive(Debug)]
struct Shard<V> {
    entries: HashMap<ClientKey, V>,
    /// Shared by all who come while everybody in the shard is over a limit.
    crowd: V,
}

/// What a table remembers of one client.
pub(super) trait Evictable: Default {
    /// What would be lost without it.
    fn eviction_priority(&self, now: Duration) -> EvictionPriority;
}

/// What it is worth to remember a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvictionPriority {
    /// Nothing: a client that is not known has the same rights.
    Nothing,
    /// The more, the less it should be forgotten.
    Some(Duration),
    /// The client is over a limit.
    Kept,
}

impl<V: Evictable> ClientTable<V> {
    /// Knows nobody.
    pub(super) fn new(clock: TokioClock) -> Self {
        Self::with_size(clock, SHARD_COUNT, MAX_SHARD_ENTRIES)
    }

    /// For networks that hold many clients each, of which there are fewer.
    pub(super) fn of_sites(clock: TokioClock) -> Self {
        Self::with_size(clock, SHARD_COUNT, MAX_SHARD_ENTRIES / SITES)
    }

    fn with_size(clock: TokioClock, shards: usize, most: usize) -> Self {
        let shard = || Shard {
            entries: HashMap::new(),
            crowd: V::default(),
        };
        Self {
            shards: (0..shards).map(|_| Mutex::new(shard())).collect(),
            hasher: RandomState::new(),
            clock,
            most,
        }
    }

    /// Does something with what is known of `client`.
    pub(super) fn with_entry<T>(&self, client: ClientKey, act: impl FnOnce(&mut V) -> T) -> T {
        let number = self.hasher.hash_one(client) as usize % self.shards.len();
        let mut shard = self.shards[number].lock();
        if let Some(known) = shard.entries.get_mut(&client) {
            return act(known);
        }
        if shard.entries.len() >= self.most {
            shard.evict(self.clock.elapsed(), self.most);
        }
        if shard.entries.len() < self.most {
            act(shard.entries.entry(client).or_default())
        } else {
            act(&mut shard.crowd)
        }
    }

    /// Frees what is remembered for nothing.
    pub(super) fn forget_idle(&self) {
        let now = self.clock.elapsed();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.forget_idle(now);
            shard.entries.shrink_to_fit();
        }
    }

    /// The bytes that it takes when it is full: hash tables of so many places,
    /// with a byte each beside the entry.
    #[cfg(test)]
    pub(super) fn max_bytes() -> usize {
        SHARD_COUNT * MAX_SHARD_ENTRIES.next_power_of_two() * (size_of::<(ClientKey, V)>() + 1)
    }

    /// The same of one for sites.
    #[cfg(test)]
    pub(super) fn most_bytes_of_sites() -> usize {
        Self::max_bytes() / SITES
    }

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

    /// Forgets an eighth at once, so that a flood does not cost a search for
    /// each newcomer.
    fn evict(&mut self, now: Duration, most: usize) {
        self.forget_idle(now);
        let wanted = most / 8 + 1;
        let free = most.saturating_sub(self.entries.len());
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
        let nth = (wanted - free - 1).min(ranks.len() - 1);
        let (_, least, _) = ranks.select_nth_unstable(nth);
        let least = *least;
        self.entries
            .retain(|_, entry| rank(entry).is_none_or(|rank| rank > least));
    }
}

const SHARD_COUNT: usize = 16;
/// What 4096 places of a hash table hold before it grows: 57 344 clients in all.
const MAX_SHARD_ENTRIES: usize = 3584;
/// A table of sites has so many times fewer.
const SITES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client::ClientIp;

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
    async fn a_flood_costs_so_much_and_no_offender_is_forgotten() {
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
    async fn whoever_comes_while_all_are_offenders_shares_one_entry() {
        let table = ClientTable::<Entry>::with_size(TokioClock::new(), 1, 4);
        for n in 0..4 {
            table.with_entry(client(n), |entry| entry.0 = u64::MAX);
        }
        table.with_entry(client(9), |entry| entry.0 = 7);
        assert_eq!(table.with_entry(client(10), |entry| entry.0), 7);
        assert_eq!(table.len(), 4);
    }
}
