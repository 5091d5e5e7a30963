//! Certificates from a CA, obtained and renewed without anybody's help.
//!
//! A task of its own that writes one file and has it read like any other: TLS
//! knows nothing of it but the proofs in [`Challenges`](super::Challenges).

mod client;
mod order;
mod renewal_info;
mod schedule;
mod settings;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::client::CaRetryAfter;
use self::order::AcmeClient;
use self::renewal_info::RenewalInfo;
pub use self::settings::{Acme, Challenge, Domain, ExternalAccount};
use self::state::{Draft, State};
use super::certified_key::{KeyPairFiles, LoadedKeyPair};
use super::{Certificates, Settings};
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory, or what is in it.
    #[error(
        "cannot use {} (tls.acme.state in config.toml); \
         let the user that runs pwd-edge write to that directory", .path.display()
    )]
    State {
        /// The directory or the file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The stored account.
    #[error("account.json in tls.acme.state cannot be read; delete it and a new account is made")]
    Account(#[source] serde_json::Error),
    /// The external account's key.
    #[error("{} holds no key in base64url (tls.acme.external_account.key_file)", .0.display())]
    ExternalKey(PathBuf),
    /// The file of the external account's key, or of the directory's own CA.
    #[error(transparent)]
    Authority(super::Error),
    /// The system trusts nobody.
    #[error(
        "this machine knows no CA to recognise the ACME server by; \
         install ca-certificates, or set tls.acme.directory_ca"
    )]
    NoRoots(#[source] std::io::Error),
    /// The server answers, but not in ACME's words.
    #[error(
        "the ACME server's answer makes no sense; \
         is tls.acme.directory the address of an ACME directory?"
    )]
    Nonsense(#[source] serde_json::Error),
    /// The server is down, or refuses.
    #[error("the ACME request failed")]
    Server(#[source] instant_acme::Error),
    /// The server tried and failed to reach us.
    #[error(
        "the ACME server could not prove {name}: {reason}; \
         does the name lead here, and is the port open to the world?"
    )]
    Refused {
        /// The name.
        name: String,
        /// The server's words.
        reason: String,
    },
    /// The server wants another kind of proof.
    #[error("the ACME server does not offer tls.acme.challenge for {0}; choose the other one")]
    NotOffered(String),
    /// The order is no good, and nobody says why.
    #[error("the ACME server did not accept the order and does not say why")]
    NotReady,
    /// It took too long.
    #[error("the ACME server was not done within {} minutes", ORDER_TIMEOUT.as_secs() / 60)]
    Timeout,
    /// A key or a request could not be made.
    #[error("cannot make a key")]
    Key(#[source] rcgen::Error),
    /// What was issued is of no use.
    #[error("the ACME server issued an unusable certificate")]
    Useless(#[source] super::Error),
    /// What was issued is of no use today.
    #[error("the ACME server issued a certificate that is not valid today")]
    Untimely(#[source] super::Error),
}

impl From<instant_acme::Error> for Error {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Json(error) => Self::Nonsense(error),
            error => Self::Server(error),
        }
    }
}

/// Gets certificates, and sees that there is always one.
#[derive(Debug)]
pub struct Renewal {
    client: AcmeClient,
    certificates: Arc<Certificates>,
    /// Where in the time for renewals this process does it.
    chance: f64,
}

impl Renewal {
    /// None if `settings` do not want it.
    ///
    /// # Errors
    /// The state directory cannot be written to.
    pub fn new(
        settings: &Settings,
        certificates: &Arc<Certificates>,
    ) -> Result<Option<Self>, Error> {
        if !settings.acme.is_on() {
            return Ok(None);
        }
        Ok(Some(Self {
            client: AcmeClient {
                state: State::open(&settings.acme.state)?,
                settings: settings.acme.clone(),
                challenges: certificates.challenges(),
                pause: CaRetryAfter::default(),
            },
            certificates: Arc::clone(certificates),
            chance: fastrand::f64(),
        }))
    }

    /// Obtains and renews until the drain stops it.
    pub async fn run(self, drain: Drain) {
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
            // The clock may be set meanwhile, so it is looked at often.
            let left = self.time_left(stored.as_ref(), &mut renewal_info).await;
            if !left.is_zero() {
                attempts = 0;
                tokio::time::sleep(left.min(CHECK_INTERVAL)).await;
                continue;
            }
            let renewed = self.renew(stored.as_ref()).await;
            self.client.challenges.clear();
            // Also after a success: whatever the new certificate or the CA say, the
            // CA is not asked in a circle.
            attempts += 1;
            let first = self.client.settings.retry_after.get();
            let pause = schedule::retry_delay(first, attempts, fastrand::f64());
            let wanted = self.client.pause.take().unwrap_or_default();
            let pause = pause.max(wanted);
            if let Err(error) = renewed {
                let retry_in = humantime::format_duration(Duration::from_secs(pause.as_secs()));
                tracing::warn!(
                    name: "certificate_renewal_failed",
                    error = error_chain(&error), %retry_in,
                    "certificate renewal failed"
                );
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The certificate from before, if it can be used.
    async fn load_stored(&self) -> Option<LoadedKeyPair> {
        let path = self.client.settings.certificate();
        let load = move || {
            let pair = KeyPairFiles::new(&path, &path, "tls.acme.");
            pair.load(&super::provider()).ok()
        };
        tokio::task::spawn_blocking(load).await.ok().flatten()
    }

    /// Until the certificate is to be renewed; nothing if there is none that has
    /// all the names.
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
        let renewal = schedule::renew_at(info, window, self.chance);
        let left = renewal.duration_since(SystemTime::now());
        left.unwrap_or_default()
    }

    async fn renew(&self, old: Option<&LoadedKeyPair>) -> Result<(), Error> {
        let client = &self.client;
        let directory = &client.settings.directory;
        tracing::info!(name: "acme_order_started", directory, "certificate order started");
        // Nothing is asked for that could not be kept.
        State::open(&client.settings.state)?;
        let old = old.map(|old| &old.certified.cert[0]);
        let obtained = tokio::time::timeout(ORDER_TIMEOUT, client.obtain(old));
        let pem = obtained.await.map_err(|_| Error::Timeout)??;
        let draft = client.state.draft(&pem)?;
        let timely = check(&draft, &client.settings).map_err(Error::Useless)?;
        draft.keep(CERTIFICATE_FILE)?;
        super::reload(&self.certificates).await;
        timely.map_err(Error::Untimely)
    }
}

/// Looks at what was issued before it takes the place of what works. A wrong
/// date alone is told apart: most likely it is the clock that is wrong, and once
/// that is set the certificate is good; throwing it away would have the CA issue
/// one after the other.
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
    let dates = loaded.info.check_dates(SystemTime::now());
    Ok(dates.map_err(|flaw| pair.flawed(flaw)))
}

const CERTIFICATE_FILE: &str = "certificate.pem";
/// How long one certificate may take.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
