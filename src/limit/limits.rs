//! The limits of each client, in one place: who is counted, what is refused,
//! and who is told.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::client_table::{ClientTable, Evictable, EvictionPriority};
use super::clock::TokioClock;
use super::keys::Site;
use super::login_failures::LoginFailures;
use super::rate::{Policy, Rate, SessionRate};
use super::{ClientKeys, Limit, Settings};
use crate::core::client::{ClientIp, ClientKey};
use crate::core::units::PositiveCount;
use crate::metrics::Metrics;

/// Counts what clients do, as one `[limits]` says.
#[derive(Debug)]
pub struct Limits {
    settings: Settings,
    metrics: Arc<Metrics>,
    connections: Arc<Rate>,
    requests: Arc<Rate>,
    upgrades: Arc<Rate>,
    logins: Arc<Rate>,
    failures: Arc<LoginFailures>,
    told: Arc<LogThrottle>,
}

/// A client is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
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
                    numbers: fn(&Settings) -> (PositiveCount, PositiveCount),
                    new: fn(PositiveCount, PositiveCount) -> Rate| {
            let multiple = settings.ipv6_site_multiple;
            let kept = old.filter(|old| {
                let same_sites = old.settings.ipv6_site_multiple == multiple;
                same_sites && numbers(&old.settings) == numbers(&settings)
            });
            let (count, burst) = numbers(&settings);
            let new = || Arc::new(new(count, burst).with_sites(count, burst, multiple));
            kept.map_or_else(new, |old| Arc::clone(of(old)))
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
                |to| {
                    (
                        to.websocket_handshakes_per_second,
                        to.websocket_handshake_burst,
                    )
                },
                Rate::per_second,
            ),
            logins: rate(
                |limits| &limits.logins,
                |to| (to.logins_per_minute, to.login_burst),
                Rate::per_minute,
            ),
            failures: guesses.map_or_else(
                || Arc::new(LoginFailures::new(most)),
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
        self.keys(client).map(ClientKeys::client)
    }

    /// The key of `client` for what all have a share of, those without limits too.
    pub fn share_key(&self, client: ClientIp) -> ClientKey {
        client.key(self.settings.ipv6_prefix.get())
    }

    /// The keys that `client` is counted by; none if it has no limits.
    pub fn keys(&self, client: ClientIp) -> Option<ClientKeys> {
        let mut allowed = self.settings.exempt.iter();
        if allowed.any(|network| network.contains(client)) {
            return None;
        }
        let (own, site) = (self.settings.ipv6_prefix, self.settings.ipv6_site_prefix);
        let has_site = client.ip().is_ipv6() && site.get() < own.get();
        let site = has_site.then(|| {
            let multiple = self.settings.ipv6_site_multiple;
            Site::new(client.key(site.get()), multiple)
        });
        Some(ClientKeys::new(client.key(own.get()), site))
    }

    /// A connection of `client` was accepted.
    ///
    /// # Errors
    /// It is one too many; so for all below.
    pub fn check_connection(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check(Limit::ConnectionsPerSecond, &self.connections, client)
    }

    /// A request of `client` came.
    ///
    /// # Errors
    /// It is one too many.
    pub fn check_request(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check(Limit::RequestsPerSecond, &self.requests, client)
    }

    /// A request of `client` goes a route that has a rate of its own.
    ///
    /// # Errors
    /// It is one too many.
    pub fn check_route(&self, rate: &Rate, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check(Limit::Route, rate, client)
    }

    /// `client` asks for a WebSocket session.
    ///
    /// # Errors
    /// It asks too often, or failed too often.
    pub fn check_upgrade(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check_login_failures(client)?;
        self.check(Limit::WebsocketHandshakesPerSecond, &self.upgrades, client)
    }

    /// `client` tries to log in.
    ///
    /// # Errors
    /// It tries too often, or failed too often.
    pub fn check_login(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check_login_failures(client)?;
        self.check(Limit::LoginsPerMinute, &self.logins, client)
    }

    /// A log-in of `client` was refused, or a token: then `token` tells it from
    /// others.
    pub fn record_login_failure(&self, client: ClientIp, token: Option<NonZeroU32>) {
        if let Some(keys) = self.keys(client) {
            self.failures.record(keys, token);
        }
    }

    fn check_login_failures(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        let checked = self.keys(client).map(|keys| self.failures.check(keys));
        let Some(Err(retry_after)) = checked else {
            return Ok(());
        };
        self.report_exceeded(
            client,
            LimitExceeded::new(Limit::FailedLoginsPerMinute, retry_after),
        )
    }

    fn check(&self, limit: Limit, rate: &Rate, client: ClientIp) -> Result<(), LimitExceeded> {
        let Some(Err(retry_after)) = self.keys(client).map(|keys| rate.check(keys)) else {
            return Ok(());
        };
        let policy = Some(rate.policy());
        self.report_exceeded(
            client,
            LimitExceeded {
                policy,
                ..LimitExceeded::new(limit, retry_after)
            },
        )
    }

    /// Notes that `client` is over a limit.
    ///
    /// # Errors
    /// `report_exceeded` itself, unless that limit is only tried out.
    pub fn report_exceeded(
        &self,
        client: ClientIp,
        over: LimitExceeded,
    ) -> Result<(), LimitExceeded> {
        let limit = over.limit.name();
        let enforced = !self.settings.dry_run.contains(&over.limit);
        self.metrics.over_limits.add(limit);
        if self.should_log(client, over.limit) {
            tracing::info!(
                name: "limit_exceeded",
                { client.ip = %client, limit, enforced },
                "limit exceeded"
            );
        }
        if enforced { Err(over) } else { Ok(()) }
    }

    /// Whether the log has said nothing of this client and limit for a while.
    fn should_log(&self, client: ClientIp, limit: Limit) -> bool {
        // Whoever is in `allow` has sessions, and they have limits.
        self.told.should_log(self.share_key(client), limit)
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

impl LimitExceeded {
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
struct LogThrottle {
    clients: ClientTable<QuietUntil>,
    /// Lines about all clients together.
    lines: SessionRate,
    clock: TokioClock,
}

impl Default for LogThrottle {
    fn default() -> Self {
        let clock = TokioClock::new();
        Self {
            clients: ClientTable::new(clock),
            lines: SessionRate::per_second(LOG_LINES_PER_SECOND, LOG_BURST),
            clock,
        }
    }
}

impl LogThrottle {
    fn should_log(&self, client: ClientKey, limit: Limit) -> bool {
        let now = self.clock.elapsed();
        let due = self
            .clients
            .with_entry(client, |quiet| quiet.restart_if_over(limit, now));
        due && self.lines.check(1, LOG_BURST).is_ok()
    }
}

/// Until which second the log is quiet about each limit.
#[derive(Debug, Default)]
struct QuietUntil([u32; Limit::COUNT]);

impl QuietUntil {
    fn restart_if_over(&mut self, limit: Limit, now: Duration) -> bool {
        let until = &mut self.0[limit as usize];
        let due = u64::from(*until) <= now.as_secs();
        if due {
            *until = u32::try_from((now + LOG_INTERVAL).as_secs()).unwrap_or(u32::MAX);
        }
        due
    }
}

impl Evictable for QuietUntil {
    fn eviction_priority(&self, now: Duration) -> EvictionPriority {
        let until = self.0.into_iter().max().unwrap_or_default().into();
        if until > now.as_secs() {
            EvictionPriority::Some(Duration::from_secs(until))
        } else {
            EvictionPriority::Nothing
        }
    }
}

/// For how long the log is quiet about the same client and limit.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Log lines about limits, at once and per second, however many clients there are.
const LOG_BURST: PositiveCount = PositiveCount::new(100);
const LOG_LINES_PER_SECOND: PositiveCount = PositiveCount::new(10);

#[cfg(test)]
mod tests;
