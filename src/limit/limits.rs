//! The limits of each client, in one place: who is counted, what is refused,
//! and who is told.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::bounded::{Bounded, Remembered, Worth};
use super::clock::TokioClock;
use super::failures::Failures;
use super::rate::{Policy, Rate, SessionRate};
use super::{Limit, Settings};
use crate::client::{ClientIp, ClientKey};
use crate::metrics::Metrics;
use crate::units::Count;

/// Counts what clients do, as one `[limits]` says.
#[derive(Debug)]
pub struct Limits {
    settings: Settings,
    metrics: Arc<Metrics>,
    connections: Arc<Rate>,
    requests: Arc<Rate>,
    upgrades: Arc<Rate>,
    logins: Arc<Rate>,
    failures: Arc<Failures>,
    told: Arc<Told>,
}

/// A client is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub limit: Limit,
    /// When it is worth trying again.
    pub retry_after: Duration,
    /// What is allowed, where that is a rate.
    pub policy: Option<Policy>,
}

impl Limits {
    /// What `old` remembers is still known where the numbers are the same: to
    /// tighten one limit forgives nobody what he did to another.
    pub fn new(settings: Settings, metrics: Arc<Metrics>, old: Option<&Self>) -> Self {
        let rate = |of: fn(&Self) -> &Arc<Rate>,
                    numbers: fn(&Settings) -> (Count, Count),
                    new: fn(Count, Count) -> Rate| {
            let kept = old.filter(|old| numbers(&old.settings) == numbers(&settings));
            let (count, burst) = numbers(&settings);
            kept.map_or_else(|| Arc::new(new(count, burst)), |old| Arc::clone(of(old)))
        };
        let most = settings.failed_logins_per_minute;
        let guesses = old.filter(|old| old.settings.failed_logins_per_minute == most);
        Self {
            connections: rate(
                |limits| &limits.connections,
                |to| (to.connections_per_second, to.connection_burst),
                Rate::per_second,
            ),
            requests: rate(
                |limits| &limits.requests,
                |to| (to.requests_per_second, to.request_burst),
                Rate::per_second,
            ),
            upgrades: rate(
                |limits| &limits.upgrades,
                |to| (to.upgrades_per_second, to.upgrade_burst),
                Rate::per_second,
            ),
            logins: rate(
                |limits| &limits.logins,
                |to| (to.logins_per_minute, to.login_burst),
                Rate::per_minute,
            ),
            failures: guesses.map_or_else(
                || Arc::new(Failures::new(most)),
                |old| Arc::clone(&old.failures),
            ),
            told: old.map_or_else(Arc::default, |old| Arc::clone(&old.told)),
            settings,
            metrics,
        }
    }

    /// `[limits]`.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The key that `client` is counted by; none if it has no limits.
    pub fn key(&self, client: ClientIp) -> Option<ClientKey> {
        let mut allowed = self.settings.allow.iter();
        match allowed.any(|network| network.contains(client)) {
            true => None,
            false => Some(client.key(self.settings.ipv6_prefix.get())),
        }
    }

    /// A connection of `client` was accepted.
    ///
    /// # Errors
    /// It is one too many; so for all below.
    pub fn connection(&self, client: ClientIp) -> Result<(), Over> {
        self.check(Limit::ConnectionsPerSecond, &self.connections, client)
    }

    /// A request of `client` came.
    ///
    /// # Errors
    /// It is one too many.
    pub fn request(&self, client: ClientIp) -> Result<(), Over> {
        self.check(Limit::RequestsPerSecond, &self.requests, client)
    }

    /// A request of `client` goes a route that has a rate of its own.
    ///
    /// # Errors
    /// It is one too many.
    pub fn route(&self, rate: &Rate, client: ClientIp) -> Result<(), Over> {
        self.check(Limit::Route, rate, client)
    }

    /// `client` asks for a WebSocket session.
    ///
    /// # Errors
    /// It asks too often, or failed too often.
    pub fn upgrade(&self, client: ClientIp) -> Result<(), Over> {
        self.guess(client)?;
        self.check(Limit::UpgradesPerSecond, &self.upgrades, client)
    }

    /// `client` tries to log in.
    ///
    /// # Errors
    /// It tries too often, or failed too often.
    pub fn login(&self, client: ClientIp) -> Result<(), Over> {
        self.guess(client)?;
        self.check(Limit::LoginsPerMinute, &self.logins, client)
    }

    /// A log-in of `client` was refused, or a token: then `token` tells it from
    /// others.
    pub fn failed(&self, client: ClientIp, token: Option<NonZeroU32>) {
        if let Some(key) = self.key(client) {
            self.failures.add(key, token);
        }
    }

    fn guess(&self, client: ClientIp) -> Result<(), Over> {
        let checked = self.key(client).map(|key| self.failures.check(key));
        let Some(Err(retry_after)) = checked else {
            return Ok(());
        };
        self.over(client, Over::new(Limit::FailedLoginsPerMinute, retry_after))
    }

    fn check(&self, limit: Limit, rate: &Rate, client: ClientIp) -> Result<(), Over> {
        let Some(Err(retry_after)) = self.key(client).map(|key| rate.check(key)) else {
            return Ok(());
        };
        let policy = Some(rate.policy());
        self.over(
            client,
            Over {
                policy,
                ..Over::new(limit, retry_after)
            },
        )
    }

    /// Notes that `client` is over a limit.
    ///
    /// # Errors
    /// `over` itself, unless that limit is only tried out.
    pub fn over(&self, client: ClientIp, over: Over) -> Result<(), Over> {
        let limit = over.limit.name();
        let refused = !self.settings.dry_run.contains(&over.limit);
        self.metrics.over_limits.add(limit);
        if self.may_tell(client, over.limit) {
            tracing::info!(client.ip = %client, limit, refused, "over a limit");
        }
        match refused {
            true => Err(over),
            false => Ok(()),
        }
    }

    /// Whether the log has said nothing of this client and limit for a while.
    fn may_tell(&self, client: ClientIp, limit: Limit) -> bool {
        // Whoever is in `allow` has sessions, and they have limits.
        self.told
            .is_due(client.key(self.settings.ipv6_prefix.get()), limit)
    }

    /// Frees what is kept of clients that have been quiet for a while.
    pub fn forget_idle(&self) {
        for rate in [
            &self.connections,
            &self.requests,
            &self.upgrades,
            &self.logins,
        ] {
            rate.forget_idle();
        }
        self.failures.forget_idle();
        self.told.clients.forget_idle();
    }
}

impl Over {
    /// Over a limit that is no rate.
    pub fn new(limit: Limit, retry_after: Duration) -> Self {
        Self {
            limit,
            retry_after,
            policy: None,
        }
    }
}

/// What the log has told.
#[derive(Debug)]
struct Told {
    clients: Bounded<Quiet>,
    /// Lines about all clients together.
    lines: SessionRate,
    clock: TokioClock,
}

impl Default for Told {
    fn default() -> Self {
        let clock = TokioClock::new();
        Self {
            clients: Bounded::new(clock),
            lines: SessionRate::per_second(LINES_PER_SECOND, LINES),
            clock,
        }
    }
}

impl Told {
    fn is_due(&self, client: ClientKey, limit: Limit) -> bool {
        let now = self.clock.elapsed();
        let due = self.clients.with(client, |quiet| quiet.is_over(limit, now));
        due && self.lines.check(1, LINES).is_ok()
    }
}

/// Until which second the log is quiet about each limit.
#[derive(Debug, Default)]
struct Quiet([u32; Limit::ALL]);

impl Quiet {
    fn is_over(&mut self, limit: Limit, now: Duration) -> bool {
        let until = &mut self.0[limit as usize];
        let due = u64::from(*until) <= now.as_secs();
        if due {
            *until = u32::try_from((now + QUIET_FOR).as_secs()).unwrap_or(u32::MAX);
        }
        due
    }
}

impl Remembered for Quiet {
    fn worth(&self, now: Duration) -> Worth {
        let until = self.0.into_iter().max().unwrap_or_default().into();
        match until > now.as_secs() {
            true => Worth::Some(Duration::from_secs(until)),
            false => Worth::Nothing,
        }
    }
}

/// For how long the log is quiet about the same client and limit.
const QUIET_FOR: Duration = Duration::from_secs(10);
/// Log lines about limits, at once and per second, however many clients there are.
const LINES: Count = Count::new(100);
const LINES_PER_SECOND: Count = Count::new(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientIp {
        ClientIp::new(text.parse().unwrap())
    }

    fn limits(text: &str) -> Limits {
        Limits::new(toml::from_str(text).unwrap(), Arc::default(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_tried_out_counts_and_refuses_nobody() {
        let text =
            "requests_per_second = 1\nrequest_burst = 1\ndry_run = [\"requests_per_second\"]";
        let limits = limits(text);
        for _ in 0..5 {
            assert_eq!(limits.request(client("192.0.2.1")), Ok(()));
        }
        assert_eq!(limits.metrics.over_limits.read()["requests_per_second"], 4);
    }

    #[tokio::test(start_paused = true)]
    async fn every_limit_can_be_tried_out_by_its_name() {
        use Limit::*;
        let all = [
            ConnectionsPerClient,
            ConnectionsPerSecond,
            HandshakesPerClient,
            RequestsPerSecond,
            RequestsInFlightPerClient,
            Route,
            LoginsPerMinute,
            FailedLoginsPerMinute,
            UpgradesPerSecond,
            SessionsPerClient,
            SessionsPerUser,
            MessagesPerSecond,
            BytesPerSecond,
            JoinsPerMinute,
            MaxRooms,
        ];
        assert_eq!(all.len(), Limit::ALL);
        for tried in all {
            let limits = limits(&format!("dry_run = [{:?}]", tried.name()));
            for limit in all {
                let over = limits.over(client("192.0.2.1"), Over::new(limit, QUIET_FOR));
                assert_eq!(over.is_ok(), limit == tried, "{tried:?}, {limit:?}");
            }
        }
    }

    /// What `docs/OPERATIONS.md` says of their memory.
    #[test]
    fn all_tables_together_stay_within_the_memory_that_is_promised() {
        let rates = 4 * Rate::most_bytes();
        let all = rates + Failures::most_bytes() + Bounded::<Quiet>::most_bytes();
        let mib = all as f64 / f64::from(1 << 20);
        println!("{mib:.1} MiB, each rate {} bytes", Rate::most_bytes());
        assert!(mib <= 24.0, "{mib}");
        assert!(Rate::most_bytes() <= 4 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn whom_the_sysadmin_knows_has_no_limits() {
        let text = "requests_per_second = 1\nrequest_burst = 1\nallow = [\"192.0.2.0/24\"]";
        let limits = limits(text);
        for _ in 0..5 {
            assert_eq!(limits.request(client("::ffff:192.0.2.1")), Ok(()));
        }
        assert_eq!(limits.request(client("198.51.100.1")), Ok(()));
        assert!(limits.request(client("198.51.100.1")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_of_the_chosen_size_is_one_client() {
        let text = "requests_per_second = 1\nrequest_burst = 1\nipv6_prefix = 56";
        let limits = limits(text);
        assert_eq!(limits.request(client("2001:db8:0:1::1")), Ok(()));
        assert!(limits.request(client("2001:db8:0:ff::1")).is_err());
        assert_eq!(limits.request(client("2001:db8:0:100::1")), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_too_often_may_neither_log_in_nor_open_a_session() {
        let limits = limits("failed_logins_per_minute = 2");
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        limits.failed(one, None);
        limits.failed(one, None);
        for refused in [limits.upgrade(one), limits.login(one)] {
            assert_eq!(refused.unwrap_err().limit, Limit::FailedLoginsPerMinute);
        }
        assert_eq!(limits.request(one), Ok(()));
        assert_eq!(limits.login(other), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn other_limits_forgive_nobody_what_he_did_to_this_one() {
        let old = limits("failed_logins_per_minute = 1\nrequest_burst = 1");
        let client = client("192.0.2.1");
        old.failed(client, None);
        assert_eq!(old.request(client), Ok(()));
        let after = |text| Limits::new(toml::from_str(text).unwrap(), Arc::default(), Some(&old));
        let other = after("failed_logins_per_minute = 1\nrequest_burst = 1\nlogin_burst = 9");
        assert!(other.login(client).is_err() && other.request(client).is_err());
        let this = after("failed_logins_per_minute = 2\nrequest_burst = 2");
        assert!(this.login(client).is_ok() && this.request(client).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_tells_once_in_ten_seconds() {
        let limits = limits("");
        let told = || limits.may_tell(client("192.0.2.1"), Limit::Route);
        assert!(told() && !told());
        assert!(limits.may_tell(client("192.0.2.1"), Limit::LoginsPerMinute));
        tokio::time::advance(QUIET_FOR).await;
        assert!(told() && !told());
    }
}
