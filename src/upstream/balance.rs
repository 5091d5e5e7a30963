//! Which server a request goes to.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::health::{Availability, HealthState};
use super::server::Server;
use super::{Balance, Settings};

/// The servers of one app: 1 to [`super::Targets::MAX_SERVERS`].
#[derive(Debug)]
pub(super) struct Balancer {
    all: Box<[Server]>,
    balance: Balance,
    /// Counts choices.
    turn: AtomicUsize,
}

/// A set of servers, by their place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServerSet(u64);

impl ServerSet {
    pub(super) fn add(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    fn remove(&mut self, place: usize) {
        self.0 &= !(1 << place);
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..64).filter(move |place| self.0 >> place & 1 == 1)
    }

    fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// A server that was chosen.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) place: usize,
    pub(super) server: &'a Server,
    _trial: Option<HalfOpenGuard<'a>>,
}

/// This request finds out whether a skipped server is well again.
#[derive(Debug)]
struct HalfOpenGuard<'a>(&'a HealthState);

impl Drop for HalfOpenGuard<'_> {
    fn drop(&mut self) {
        self.0.end_half_open();
    }
}

impl Balancer {
    pub(super) fn new(settings: &Settings) -> Self {
        let servers = settings.url.iter();
        Self {
            all: servers
                .map(|target| Server::new(target, settings))
                .collect(),
            balance: settings.balance,
            turn: AtomicUsize::new(0),
        }
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Server> {
        self.all.iter()
    }

    /// Whether there is only one.
    pub(super) fn is_single(&self) -> bool {
        self.all.len() == 1
    }

    /// The next server for a request that `tried` some; `None` if it has tried
    /// all that there are. Skipping ends where it would leave none: a single
    /// server is never skipped, and if all would be, none is.
    pub(super) fn choose(&self, tried: ServerSet) -> Option<Choice<'_>> {
        if self.is_single() {
            return tried.is_empty().then(|| self.choice(0, None));
        }
        let (mut all, mut fit) = (ServerSet::default(), ServerSet::default());
        for (place, server) in self.all.iter().enumerate() {
            all.add(place);
            if server.health_state.availability() != Availability::Unhealthy {
                fit.add(place);
            }
        }
        let mut left = fit.without(tried);
        while let Some(place) = self.pick(left) {
            let record = &self.all[place].health_state;
            if record.availability() == Availability::Healthy {
                return Some(self.choice(place, None));
            }
            if record.begin_half_open() {
                return Some(self.choice(place, Some(HalfOpenGuard(record))));
            }
            left.remove(place);
            fit.remove(place);
        }
        if fit.is_empty() {
            Some(self.choice(self.pick(all.without(tried))?, None))
        } else {
            None
        }
    }

    fn choice<'a>(&'a self, place: usize, trial: Option<HalfOpenGuard<'a>>) -> Choice<'a> {
        Choice {
            place,
            server: &self.all[place],
            _trial: trial,
        }
    }

    fn pick(&self, places: ServerSet) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Relaxed);
        // Turns are counted among those that are left, so that the neighbour of
        // a skipped server does not get its share as well.
        let first = turn.checked_rem(places.len())?;
        let mut in_turn = places.iter().cycle().skip(first).take(places.len());
        match self.balance {
            Balance::RoundRobin => in_turn.next(),
            Balance::LeastRequests => {
                in_turn.min_by_key(|place| self.all[*place].active_requests())
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
        let chosen = (0..times).map(|_| servers.choose(ServerSet::default()).unwrap().place);
        chosen.collect()
    }

    fn skip(servers: &Balancer, place: usize) {
        for _ in 0..3 {
            servers.all[place]
                .health_state
                .record_failure("down".to_owned());
        }
    }

    #[test]
    fn each_has_its_turn_and_a_skipped_one_has_none() {
        let servers = servers(Balance::RoundRobin);
        assert_eq!(places(&servers, 4), [0, 1, 2, 0]);
        skip(&servers, 1);
        let chosen = places(&servers, 10);
        let to = |place| chosen.iter().filter(|chosen| **chosen == place).count();
        assert_eq!((to(0), to(1), to(2)), (5, 0, 5));
    }

    #[test]
    fn if_all_would_be_skipped_none_is() {
        let servers = servers(Balance::RoundRobin);
        (0..3).for_each(|place| skip(&servers, place));
        let mut tried = ServerSet::default();
        while let Some(choice) = servers.choose(tried) {
            tried.add(choice.place);
        }
        assert_eq!(tried.len(), 3);
    }

    #[test]
    fn the_least_busy_comes_first() {
        let servers = servers(Balance::LeastRequests);
        let _busy = [0, 0, 2].map(|place: usize| servers.all[place].begin());
        assert_eq!(places(&servers, 3), [1, 1, 1]);
        let more = [1, 1].map(|place: usize| servers.all[place].begin());
        assert_eq!(places(&servers, 3), [2, 2, 2]);
        drop(more);
        assert_eq!(places(&servers, 1), [1]);
    }
}
