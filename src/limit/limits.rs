//! The limits of clients in one place: checks rates and failed log-ins, applies exemptions
//! and dry runs, and reports exceeded limits to the log and the metrics.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::keys::Site;
use super::log_throttle::LogThrottle;
use super::login_failures::{LoginAttempt, LoginDenial, LoginFailures};
use super::rate::{COST_UNITS, Policy, Rate};
use super::{ClientKeys, ClientPermit, Limit, Metrics, Settings};
use crate::core::client_ip::{ClientIp, ClientKey};
use crate::core::units::PositiveCount;

/// The rates and counters of one `[limits]` configuration.
#[derive(Debug)]
pub(crate) struct Limits {
    settings: Settings,
    metrics: Arc<Metrics>,
    connections: Arc<Rate>,
    requests: Arc<Rate>,
    upgrades: Arc<Rate>,
    logins: Arc<Rate>,
    failures: Arc<LoginFailures>,
    log_throttle: Arc<LogThrottle>,
}

/// The event of a client that has exceeded a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// The limit that was exceeded.
    pub(crate) limit: Limit,
    /// The time after which a retry may succeed.
    pub(crate) retry_after: Duration,
    /// The allowed rate, if the limit is a rate.
    pub(crate) policy: Option<Policy>,
}

impl Limits {
    /// Creates the limits of `settings`. Each rate whose numbers are the same in `old` keeps
    /// its state, so that a reload which changes one limit does not reset the others.
    pub(crate) fn new(settings: Settings, metrics: Arc<Metrics>, old: Option<&Self>) -> Self {
        let rate = |of: fn(&Self) -> &Arc<Rate>,
                    numbers: fn(&Settings) -> (PositiveCount, PositiveCount),
                    new: fn(PositiveCount, PositiveCount) -> Rate| {
            let multiple = settings.ipv6_site_multiple;
            let unchanged = old.filter(|old| {
                let same_sites = old.settings.ipv6_site_multiple == multiple;
                same_sites && numbers(&old.settings) == numbers(&settings)
            });
            let (count, burst) = numbers(&settings);
            let new = || Arc::new(new(count, burst).with_sites(count, burst, multiple));
            unchanged.map_or_else(new, |old| Arc::clone(of(old)))
        };
        let max_failures = |settings: &Settings| {
            (
                settings.failed_logins_per_minute,
                settings.rejected_tokens_per_minute,
            )
        };
        let (max_logins, max_tokens) = max_failures(&settings);
        let same_failures =
            old.filter(|old| max_failures(&old.settings) == (max_logins, max_tokens));
        Self {
            connections: rate(
                |limits| &limits.connections,
                |to| (to.connections_per_second, to.connection_burst),
                Rate::per_second,
            ),
            requests: rate(
                |limits| &limits.requests,
                |to| (to.requests_per_second, to.request_burst),
                Rate::delaying,
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
            failures: same_failures.map_or_else(
                || Arc::new(LoginFailures::new(max_logins, max_tokens)),
                |old| Arc::clone(&old.failures),
            ),
            log_throttle: old.map_or_else(Arc::default, |old| Arc::clone(&old.log_throttle)),
            settings,
            metrics,
        }
    }

    /// Returns the settings of `[limits]`.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the key of `client`, or `None` if it is exempt.
    pub(crate) fn key(&self, client: ClientIp) -> Option<ClientKey> {
        self.keys(client).map(ClientKeys::client)
    }

    /// Returns the key of `client` for what exempt clients are counted in as well, such as
    /// encoders and log events.
    pub(crate) fn share_key(&self, client: ClientIp) -> ClientKey {
        client.key(self.settings.ipv6_prefix.get())
    }

    /// Returns the keys of `client` with its IPv6 site, or `None` if it is exempt.
    pub(crate) fn keys(&self, client: ClientIp) -> Option<ClientKeys> {
        let mut allowed = self.settings.exempt.iter();
        if allowed.any(|network| network.contains(client)) {
            return None;
        }
        let prefix = self.settings.ipv6_prefix.get();
        let site_prefix = self.settings.ipv6_site_prefix.get();
        let has_site = client.ip().is_ipv6() && site_prefix < prefix;
        let site = has_site.then(|| {
            let multiple = self.settings.ipv6_site_multiple;
            Site::new(client.key(site_prefix), multiple)
        });
        Some(ClientKeys::new(client.key(prefix), site))
    }

    /// Counts a new connection of `client`.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] if the client is over its rate of connections.
    pub(crate) fn check_connection(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check(Limit::ConnectionsPerSecond, &self.connections, client)
    }

    /// Counts a request of `client`. Returns the time after which it may proceed: zero within
    /// the burst, and later above it.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] if the client is far over its rate of requests.
    pub(crate) fn check_request(
        &self,
        client: ClientIp,
        cost: RequestCost,
    ) -> Result<Duration, LimitExceeded> {
        let limit = Limit::RequestsPerSecond;
        let checked = self.check_cost(limit, &self.requests, client, cost.units());
        let delay = checked?;
        if delay.is_zero() || self.settings.dry_run.contains(&limit) {
            return Ok(Duration::ZERO);
        }
        self.metrics.count_delayed(limit);
        Ok(delay)
    }

    /// Counts a request of `client` on a route with a rate of its own.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] if the client is over the rate of the route.
    pub(crate) fn check_route(&self, rate: &Rate, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check(Limit::Route, rate, client)
    }

    /// Counts a WebSocket handshake of `client`.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] if the client is over its rate of handshakes, or waits
    /// after too many rejected tokens.
    pub(crate) fn check_upgrade(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check_rejected_tokens(client)?;
        self.check(Limit::WebsocketHandshakesPerSecond, &self.upgrades, client)
    }

    /// Checks the number of tokens of `client` that Laravel has rejected.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] if the client waits after too many of them.
    pub(crate) fn check_rejected_tokens(&self, client: ClientIp) -> Result<(), LimitExceeded> {
        let checked = self
            .keys(client)
            .map(|keys| self.failures.check_tokens(keys));
        match checked {
            Some(Err(retry_after)) => {
                let limit = Limit::RejectedTokensPerMinute;
                self.report_exceeded(client, LimitExceeded::new(limit, retry_after))
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Counts a log-in of `client`, and waits for a moment while as many of its log-ins are
    /// under way as may fail. Returns none for a client without limits.
    ///
    /// # Errors
    /// Returns [`LimitExceeded`] if the client is over its rate of log-ins, or waits after
    /// too many failed ones.
    pub(crate) async fn begin_login(
        &self,
        client: ClientIp,
    ) -> Result<Option<LoginAttempt>, LimitExceeded> {
        self.check(Limit::LoginsPerMinute, &self.logins, client)?;
        let Some(keys) = self.keys(client) else {
            return Ok(None);
        };
        let limit = Limit::FailedLoginsPerMinute;
        let end = Instant::now() + LOGIN_TIMEOUT;
        let retry_after = loop {
            match self.failures.begin(keys) {
                Ok(attempt) => return Ok(Some(attempt)),
                Err(LoginDenial::Blocked(left)) => break left,
                Err(LoginDenial::Busy) if self.settings.dry_run.contains(&limit) => {
                    break LOGIN_RETRY_AFTER;
                }
                Err(LoginDenial::Busy) if Instant::now() >= end => break LOGIN_RETRY_AFTER,
                Err(LoginDenial::Busy) => tokio::time::sleep(LOGIN_POLL_INTERVAL).await,
            }
        };
        self.report_exceeded(client, LimitExceeded::new(limit, retry_after))?;
        Ok(None)
    }

    /// Counts a token of `client` that Laravel has rejected. The same `token`, given by its
    /// fingerprint, counts once.
    pub(crate) fn record_rejected_token(&self, client: ClientIp, token: Option<NonZeroU32>) {
        if let Some(keys) = self.keys(client) {
            self.failures.record_token(keys, token);
        }
    }

    fn check(&self, limit: Limit, rate: &Rate, client: ClientIp) -> Result<(), LimitExceeded> {
        self.check_cost(limit, rate, client, NonZeroU32::MIN)
            .map(|_| ())
    }

    fn check_cost(
        &self,
        limit: Limit,
        rate: &Rate,
        client: ClientIp,
        cost: NonZeroU32,
    ) -> Result<Duration, LimitExceeded> {
        let Some(keys) = self.keys(client) else {
            return Ok(Duration::ZERO);
        };
        let retry_after = match rate.check_cost(keys, cost) {
            Ok(delay) => return Ok(delay),
            Err(retry_after) => retry_after,
        };
        let over = LimitExceeded {
            policy: Some(rate.policy()),
            ..LimitExceeded::new(limit, retry_after)
        };
        self.report_exceeded(client, over)?;
        Ok(Duration::ZERO)
    }

    /// Returns the permit that `acquire` gives for the `keys` of `client`, or `None` if the
    /// client is exempt, or has its maximum and the limit is in `limits.dry_run`.
    ///
    /// # Errors
    /// Returns `over` if the client has its maximum.
    pub(crate) fn acquire_share(
        &self,
        client: ClientIp,
        keys: Option<ClientKeys>,
        over: LimitExceeded,
        acquire: impl FnOnce(ClientKeys) -> Option<ClientPermit>,
    ) -> Result<Option<ClientPermit>, LimitExceeded> {
        let Some(keys) = keys else {
            return Ok(None);
        };
        let permit = acquire(keys);
        if permit.is_none() {
            self.report_exceeded(client, over)?;
        }
        Ok(permit)
    }

    /// Counts and logs that `client` has exceeded a limit.
    ///
    /// # Errors
    /// Returns `over` itself, unless the limit is in `limits.dry_run`.
    pub(crate) fn report_exceeded(
        &self,
        client: ClientIp,
        over: LimitExceeded,
    ) -> Result<(), LimitExceeded> {
        let limit = over.limit.name();
        let enforced = !self.settings.dry_run.contains(&over.limit);
        self.metrics.count_exceeded(over.limit, enforced);
        if self.should_log(client, over.limit) {
            let hint = over.limit.hint(client);
            tracing::info!(
                name: "limit_exceeded",
                { client.ip = %client, limit, enforced, hint },
                "limit exceeded"
            );
        }
        if enforced { Err(over) } else { Ok(()) }
    }

    /// Returns whether to log the event, which is throttled per client and limit.
    fn should_log(&self, client: ClientIp, limit: Limit) -> bool {
        // An exempt client has a key here, too: its sessions have limits of their own.
        let key = self.share_key(client);
        self.log_throttle.should_log(key, limit)
    }

    /// Frees the state of clients whose limits have recovered completely.
    pub(crate) fn forget_idle(&self) {
        for rate in [
            &self.connections,
            &self.requests,
            &self.upgrades,
            &self.logins,
        ] {
            rate.forget_idle();
        }
        self.failures.forget_idle();
        self.log_throttle.forget_idle();
    }
}

/// The share of the request rate that a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestCost {
    /// A request to an application, or a response that the edge makes up.
    Full,
    /// A static file, which costs the edge little and PHP nothing: a tenth.
    File,
    /// The rest of a request that was counted as a file and is none.
    FullAfterFile,
}

impl RequestCost {
    fn units(self) -> NonZeroU32 {
        const FULL: NonZeroU32 = NonZeroU32::new(COST_UNITS).expect("above zero");
        const REST: NonZeroU32 = NonZeroU32::new(COST_UNITS - 1).expect("above zero");
        match self {
            Self::Full => FULL,
            Self::File => NonZeroU32::MIN,
            Self::FullAfterFile => REST,
        }
    }
}

impl LimitExceeded {
    /// Creates the event for a limit that is not a rate.
    pub(crate) fn new(limit: Limit, retry_after: Duration) -> Self {
        Self {
            limit,
            retry_after,
            policy: None,
        }
    }
}

/// The time that a log-in waits for others of its client that are under way.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(3);
/// The time between two looks at them. So many log-ins at once are rare, and each takes Laravel
/// longer than this.
const LOGIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The time after which a log-in that has waited in vain may be retried.
const LOGIN_RETRY_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
