//! Load balancing: chooses the server for each attempt of a request, round robin or by
//! the fewest active requests, and skips unhealthy servers.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::health::{Availability, HealthState};
use super::server::Server;
use super::{Balance, Settings};

/// The servers of one app: 1 to [`super::Targets::MAX_SERVERS`].
#[derive(Debug)]
pub(super) struct Balancer {
    all: Box<[Server]>,
    balance: Balance,
    /// The number of choices so far; round robin starts from it.
    turn: AtomicUsize,
}

/// A set of servers by index: one bit each, for at most 64 servers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerSet(u64);

impl ServerSet {
    /// Adds the server at `index`, which must be below 64.
    pub(super) fn add(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn remove(&mut self, index: usize) {
        self.0 &= !(1 << index);
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..64).filter(move |index| self.0 >> index & 1 == 1)
    }

    fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// The server chosen for one attempt. While it lives, it keeps the server's half-open
/// slot if it took that.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) index: usize,
    pub(super) server: &'a Server,
    _half_open: Option<HalfOpenGuard<'a>>,
}

/// The half-open slot of a server: the one request that tests whether the server is healthy
/// again. Dropping it frees the slot.
#[derive(Debug)]
struct HalfOpenGuard<'a>(&'a HealthState);

impl Drop for HalfOpenGuard<'_> {
    fn drop(&mut self) {
        self.0.end_half_open();
    }
}

impl Balancer {
    /// Creates a balancer over the servers of `upstream.url`, without any connection.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            all: settings
                .url
                .iter()
                .map(|target| Server::new(target, settings))
                .collect(),
            balance: settings.balance,
            turn: AtomicUsize::new(0),
        }
    }

    /// Returns the servers in the order of the configuration.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Server> {
        self.all.iter()
    }

    /// Returns whether the app has a single server, which is never marked down.
    pub(super) fn is_single(&self) -> bool {
        self.all.len() == 1
    }

    /// Returns the next server for a request that has `tried` some, or `None` once it has
    /// tried every server it may.
    ///
    /// Unhealthy servers are skipped as long as another one remains: a single server is
    /// never skipped, and if all are unhealthy, none is.
    pub(super) fn choose(&self, tried: ServerSet) -> Option<Choice<'_>> {
        if self.is_single() {
            return tried.is_empty().then(|| self.choice(0, None));
        }
        let (mut all, mut available) = (ServerSet::default(), ServerSet::default());
        for (index, server) in self.all.iter().enumerate() {
            all.add(index);
            if server.health_state.availability() != Availability::Unhealthy {
                available.add(index);
            }
        }
        let mut untried = available.without(tried);
        while let Some(index) = self.pick(untried) {
            let health = &self.all[index].health_state;
            if health.availability() == Availability::Healthy {
                return Some(self.choice(index, None));
            }
            if health.begin_half_open() {
                return Some(self.choice(index, Some(HalfOpenGuard(health))));
            }
            // Another request took the half-open slot between the two calls.
            untried.remove(index);
            available.remove(index);
        }
        if available.is_empty() {
            Some(self.choice(self.pick(all.without(tried))?, None))
        } else {
            None
        }
    }

    fn choice<'a>(&'a self, index: usize, half_open: Option<HalfOpenGuard<'a>>) -> Choice<'a> {
        Choice {
            index,
            server: &self.all[index],
            _half_open: half_open,
        }
    }

    /// Picks a server of the set by the configured algorithm; `None` if the set is empty.
    /// Among servers with equally few requests, the round robin decides.
    fn pick(&self, servers: ServerSet) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Relaxed);
        // The turn counts within the set, so that the share of a skipped server is spread
        // over all others and does not go to its neighbour.
        let first = turn.checked_rem(servers.len())?;
        let mut candidates = servers.iter().cycle().skip(first).take(servers.len());
        match self.balance {
            Balance::RoundRobin => candidates.next(),
            Balance::LeastRequests => {
                candidates.min_by_key(|index| self.all[*index].active_requests())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Target, Targets};
    use super::*;

    fn servers(balance: Balance) -> Balancer {
        let targets = ["unix:/a", "unix:/b", "unix:/c"].map(|text| text.to_owned());
        let targets: Vec<_> = targets
            .into_iter()
            .map(|text| Target::try_from(text).unwrap())
            .collect();
        Balancer::new(&Settings {
            url: Targets::try_from(targets).unwrap(),
            balance,
            ..Settings::default()
        })
    }

    fn places(servers: &Balancer, times: usize) -> Vec<usize> {
        let chosen = (0..times).map(|_| servers.choose(ServerSet::default()).unwrap().index);
        chosen.collect()
    }

    fn skip(servers: &Balancer, index: usize) {
        for _ in 0..3 {
            servers.all[index]
                .health_state
                .record_failure("down".to_owned(), false);
        }
    }

    #[test]
    fn round_robin_rotates_and_passes_over_skipped_servers() {
        let servers = servers(Balance::RoundRobin);
        assert_eq!(places(&servers, 4), [0, 1, 2, 0]);
        skip(&servers, 1);
        let chosen = places(&servers, 10);
        let to = |index| chosen.iter().filter(|chosen| **chosen == index).count();
        assert_eq!((to(0), to(1), to(2)), (5, 0, 5));
    }

    #[test]
    fn servers_all_unhealthy_are_all_tried() {
        let servers = servers(Balance::RoundRobin);
        (0..3).for_each(|index| skip(&servers, index));
        let mut tried = ServerSet::default();
        while let Some(choice) = servers.choose(tried) {
            tried.add(choice.index);
        }
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn least_requests_chooses_the_least_busy_server() {
        let servers = servers(Balance::LeastRequests);
        let _busy = [0, 0, 2].map(|index: usize| servers.all[index].begin());
        assert_eq!(places(&servers, 3), [1, 1, 1]);
        let more = [1, 1].map(|index: usize| servers.all[index].begin());
        assert_eq!(places(&servers, 3), [2, 2, 2]);
        drop(more);
        assert_eq!(places(&servers, 1), [1]);
    }
}
