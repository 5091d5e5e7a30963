//! An ACME client (RFC 8555): obtains certificates from a CA and renews them automatically.
//!
//! One task writes the certificate file and reloads it like any other. The rest of TLS only
//! shares the pending [`Challenges`](super::Challenges) with it.

mod client;
mod order;
mod renewal_info;
mod schedule;
mod settings;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::client::{CaHttpClient, CaRetryAfter};
use self::order::AcmeClient;
use self::renewal_info::RenewalInfo;
pub(crate) use self::settings::{Acme, Challenge};
use self::state::{Draft, State};
use super::certified_key::{KeyPairFiles, LoadedKeyPair};
use super::order_status::{OrderFailure, OrderStatus};
use super::{Certificates, Settings};
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;

/// The reason why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory or a file in it is not usable.
    #[error(
        "cannot use {} (tls.acme.storage); \
         let the user that runs pwd-edge write to that directory", .path.display()
    )]
    State {
        /// The path of the directory or file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The stored account is malformed.
    #[error("account.json in tls.acme.storage cannot be read; delete it and a new account is made")]
    Account(#[source] serde_json::Error),
    /// The key of the external account is malformed.
    #[error("{} holds no key in base64url (tls.acme.external_account.key_file)", .0.display())]
    ExternalKey(PathBuf),
    /// The key file of the external account, or the file of the directory's own CA, is not
    /// usable.
    #[error(transparent)]
    Authority(super::Error),
    /// The system has no trusted CAs.
    #[error(
        "this machine knows no CA to recognise the ACME server by; \
         install ca-certificates, or set tls.acme.directory_ca_file"
    )]
    NoRoots(#[source] std::io::Error),
    /// The server's response is not ACME.
    #[error(
        "the ACME server's response is invalid; \
         is tls.acme.directory the address of an ACME directory?"
    )]
    InvalidResponse(#[source] serde_json::Error),
    /// The server is unreachable or has rejected the request.
    #[error("the ACME request failed")]
    Server(#[source] instant_acme::Error),
    /// The server could not validate a challenge.
    #[error(
        "the ACME server could not validate {name}: {reason}; \
         does the name lead here, and is the port open to the world?"
    )]
    ChallengeFailed {
        /// The name that the CA could not validate.
        name: String,
        /// The reason, in the server's words.
        reason: String,
    },
    /// The server does not offer the configured challenge.
    #[error("the ACME server does not offer tls.acme.challenge for {0}; choose the other one")]
    NotOffered(String),
    /// The server has not accepted the order, without a reason.
    #[error("the ACME server rejected the order without a reason")]
    NotReady,
    /// The order has taken too long.
    #[error("the ACME server was not done within {} minutes", ORDER_TIMEOUT.as_secs() / 60)]
    Timeout,
    /// A key or a certificate request could not be created.
    #[error("cannot make a key")]
    Key(#[source] rcgen::Error),
    /// The issued certificate is unusable.
    #[error("the ACME server issued an unusable certificate")]
    Useless(#[source] super::Error),
    /// The issued certificate is not valid today.
    #[error("the ACME server issued a certificate that is not valid today")]
    Untimely(#[source] super::Error),
}

impl From<instant_acme::Error> for Error {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Json(error) => Self::InvalidResponse(error),
            error => Self::Server(error),
        }
    }
}

/// The task that obtains certificates and renews them in time.
#[derive(Debug)]
pub(crate) struct Renewal {
    client: AcmeClient,
    certificates: Arc<Certificates>,
    orders: Arc<OrderStatus>,
    /// The random point, from 0 to 1, within the renewal window.
    chance: f64,
}

impl Renewal {
    /// Creates the task, or returns `None` if ACME is off. Creates the state directory.
    ///
    /// # Errors
    /// Returns [`Error::State`] if the state directory is not writable.
    pub(crate) fn new(
        settings: &Settings,
        certificates: &Arc<Certificates>,
    ) -> Result<Option<Self>, Error> {
        if !settings.acme.is_on() {
            return Ok(None);
        }
        Ok(Some(Self {
            client: AcmeClient {
                state: State::open(&settings.acme.storage)?,
                settings: settings.acme.clone(),
                challenges: certificates.challenges(),
                pause: CaRetryAfter::default(),
            },
            orders: certificates.orders(),
            certificates: Arc::clone(certificates),
            chance: fastrand::f64(),
        }))
    }

    /// Checks the storage directory, the CAs by which the edge recognises the ACME server and,
    /// until there is an account, the key of the external account. Changes nothing, and sends
    /// nothing to the CA. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::State`], [`Error::Authority`], [`Error::NoRoots`] or
    /// [`Error::ExternalKey`] for the first that is unusable.
    pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
        let acme = &settings.acme;
        if !acme.is_on() {
            return Ok(());
        }
        State::check(&acme.storage)?;
        CaHttpClient::new(acme, CaRetryAfter::default())?;
        // Only a new account needs the key, so that its file may be gone later.
        if !acme.storage.join(order::ACCOUNT_FILE).exists() {
            order::external_account_key(acme)?;
        }
        Ok(())
    }

    /// Obtains and renews certificates until `drain` stops.
    pub(crate) async fn run(self, drain: Drain) {
        tokio::select! {
            () = self.renew_forever() => {}
            () = drain.token().cancelled() => {}
        }
    }

    async fn renew_forever(self) {
        let mut renewal_info = RenewalInfo::default();
        let mut attempts = 0;
        loop {
            let stored = self.load_stored().await;
            // Checked often, since the clock may be set meanwhile.
            let left = self.time_left(stored.as_ref(), &mut renewal_info).await;
            if !left.is_zero() {
                attempts = 0;
                self.orders.record(None);
                self.pause(left.min(CHECK_INTERVAL), Duration::ZERO).await;
                continue;
            }
            let renewed = self.renew(stored.as_ref()).await;
            self.client.challenges.clear();
            // There is a pause after a success, too: if the new certificate does not satisfy
            // `time_left`, the edge must not order one after the other.
            attempts += 1;
            let first = self.client.settings.retry_interval.get();
            let retry_after = self.client.pause.take().unwrap_or_default();
            let pause = schedule::retry_delay(first, attempts, fastrand::f64()).max(retry_after);
            self.report(renewed, stored.is_some(), pause);
            self.pause(pause, retry_after).await;
        }
    }

    /// Waits for `pause`, or until a reload asks for another attempt, but at least for
    /// `retry_after`, which the CA has set.
    async fn pause(&self, pause: Duration, retry_after: Duration) {
        let must_wait = tokio::time::sleep(retry_after);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.orders.retry_requested() => must_wait.await,
        }
    }

    /// Records the result of an order for `status`, and logs a failure: without any
    /// certificate for the names service is lost.
    fn report(&self, renewed: Result<(), Error>, has_certificate: bool, pause: Duration) {
        let failure = renewed.err().map(|error| OrderFailure {
            error: error_chain(&error),
            retry_at: SystemTime::now() + pause,
        });
        self.orders.record(failure.clone());
        let Some(OrderFailure { error, .. }) = failure else {
            return;
        };
        let retry_in = humantime::format_duration(Duration::from_secs(pause.as_secs()));
        if has_certificate {
            tracing::warn!(
                name: "certificate_renewal_failed",
                error, %retry_in,
                "certificate renewal failed"
            );
        } else {
            tracing::error!(
                name: "certificate_renewal_failed",
                error, %retry_in,
                "certificate renewal failed"
            );
        }
    }

    /// Loads the stored certificate; `None` if there is none or it is unusable.
    async fn load_stored(&self) -> Option<LoadedKeyPair> {
        let path = self.client.settings.certificate();
        let load = move || {
            let pair = KeyPairFiles::new(&path, &path, "tls.acme.");
            pair.load(&super::provider()).ok()
        };
        tokio::task::spawn_blocking(load).await.ok().flatten()
    }

    /// Returns the time until the renewal: zero if there is no certificate, or it does not
    /// cover all names.
    async fn time_left(
        &self,
        stored: Option<&LoadedKeyPair>,
        renewal_info: &mut RenewalInfo,
    ) -> Duration {
        let Some(LoadedKeyPair {
            certified, info, ..
        }) = stored
        else {
            return Duration::ZERO;
        };
        let domains = &self.client.settings.domains;
        if !domains.iter().all(|domain| info.is_for(domain.as_str())) {
            return Duration::ZERO;
        }
        let window = renewal_info
            .window_for(&certified.cert[0], &self.client)
            .await;
        schedule::renew_at(info, window, self.chance)
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }

    /// Obtains a certificate, checks and stores it, and reloads the certificates.
    ///
    /// # Errors
    /// Returns [`Error::Useless`] if the certificate is unusable, which leaves the stored one
    /// in place, and [`Error::Untimely`] if it is stored but not valid today.
    async fn renew(&self, old: Option<&LoadedKeyPair>) -> Result<(), Error> {
        let client = &self.client;
        let directory = &client.settings.directory;
        tracing::info!(name: "acme_order_started", directory, "certificate order started");
        // Before the order: a certificate that cannot be stored would be lost.
        State::open(&client.settings.storage)?;
        let replaced = old.map(|loaded| &loaded.certified.cert[0]);
        let pem = tokio::time::timeout(ORDER_TIMEOUT, client.obtain(replaced))
            .await
            .map_err(|_| Error::Timeout)??;
        let draft = client.state.draft(&pem)?;
        let dates = check(&draft, &client.settings).map_err(Error::Useless)?;
        draft.persist(CERTIFICATE_FILE)?;
        super::reload(&self.certificates).await;
        dates.map_err(Error::Untimely)
    }
}

/// Checks an issued certificate before it replaces the stored one. The inner result is about
/// the dates alone: if they are wrong, this machine's clock probably is, and the certificate
/// becomes valid once that is set. If the edge discarded it, it would order one after the
/// other.
fn check(draft: &Draft, settings: &Acme) -> Result<Result<(), super::Error>, super::Error> {
    let pair = KeyPairFiles::new(draft.path(), draft.path(), "tls.acme.");
    let loaded = pair.load(&super::provider())?;
    let mut domains = settings.domains.iter();
    if let Some(domain) = domains.find(|domain| !loaded.info.is_for(domain.as_str())) {
        return Err(super::Error::Uncovered {
            host: domain.as_str().to_owned(),
            names: loaded.info.names.join(", "),
        });
    }
    let dates = loaded.check_dates(SystemTime::now());
    Ok(dates.map_err(|problem| pair.invalid(problem)))
}

const CERTIFICATE_FILE: &str = "certificate.pem";
/// The time within which an order must complete.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// The interval at which the time of the renewal is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requested_retry_ends_the_pause_but_not_that_of_the_ca() {
        let state = tempfile::tempdir().unwrap();
        let text = format!(
            "[acme]\nterms_of_service_agreed = true\ndomains = [\"desk.example\"]\nstorage = {:?}\n",
            state.path()
        );
        let mut settings: Settings = toml::from_str(&text).unwrap();
        settings.certificate = state.path().join("none.pem");
        let certificates = Arc::new(Certificates::load(&settings).unwrap());
        let renewal = Renewal::new(&settings, &certificates).unwrap().unwrap();
        let hour = Duration::from_secs(3600);
        for retry_after in [Duration::ZERO, hour / 2] {
            let start = Instant::now();
            let pause = renewal.pause(hour, retry_after);
            tokio::join!(pause, async { certificates.retry_order() });
            assert_eq!(start.elapsed(), retry_after);
        }
        let start = Instant::now();
        renewal.pause(hour, Duration::ZERO).await;
        assert_eq!(start.elapsed(), hour);
    }
}
