//! Certificates from a CA, obtained and renewed without anybody's help.
//!
//! A task of its own that writes one file and has it read like any other: TLS
//! knows nothing of it but the proofs in [`Challenges`](super::Challenges).

mod order;
mod schedule;
mod settings;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::order::Applicant;
pub use self::settings::{Acme, Challenge, Domain, ExternalAccount};
use self::state::State;
use super::facts::Facts;
use super::pair::Pair;
use super::{Certificates, Settings};
use crate::drain::Drain;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory, or the file of the external key.
    #[error(
        "cannot use a file of ACME's: {0}; let the user that runs pwd-edge write to \
         tls.acme.state, and read external_account.key_file"
    )]
    File(#[from] std::io::Error),
    /// The stored account.
    #[error(
        "account.json in tls.acme.state cannot be read: {0}; \
         delete it and a new account is made"
    )]
    Account(serde_json::Error),
    /// The external account's key.
    #[error("{} holds no key in base64url (tls.acme.external_account.key_file)", .0.display())]
    ExternalKey(PathBuf),
    /// The server is down, refuses, or makes no sense.
    #[error("the ACME server did not do it: {}", chain(.0))]
    Server(#[from] instant_acme::Error),
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
    #[error("the ACME server was not done within {} minutes", TIMEOUT.as_secs() / 60)]
    Timeout,
    /// A key or a request could not be made.
    #[error("cannot make a key: {0}")]
    Key(rcgen::Error),
    /// What was issued is of no use.
    #[error("the ACME server issued something useless: {0}")]
    Useless(super::Error),
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Gets certificates, and sees that there is always one.
#[derive(Debug)]
pub struct Renewal {
    applicant: Applicant,
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
            applicant: Applicant {
                state: State::open(&settings.acme.state)?,
                settings: settings.acme.clone(),
                challenges: certificates.challenges(),
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
        let mut failures = 0;
        loop {
            // The clock may be set meanwhile, so it is looked at often.
            let left = self.time_left().await;
            if !left.is_zero() {
                tokio::time::sleep(left.min(LOOK)).await;
                continue;
            }
            let renewed = self.renew().await;
            self.applicant.challenges.forget();
            match renewed {
                Ok(()) => {
                    failures = 0;
                    // Whatever the new one says, the CA is not asked at once again.
                    tokio::time::sleep(self.applicant.settings.retry_after.get()).await;
                }
                Err(error) => {
                    failures += 1;
                    let first = self.applicant.settings.retry_after.get();
                    let pause = schedule::pause(first, failures, fastrand::f64());
                    let again_in = humantime::format_duration(Duration::from_secs(pause.as_secs()));
                    tracing::error!(%error, %again_in, "no new certificate");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Until the certificate is to be renewed; nothing if there is none that has
    /// all the names.
    async fn time_left(&self) -> Duration {
        let path = self.applicant.settings.certificate();
        let facts = tokio::task::spawn_blocking(move || stored(&path)).await;
        let Some(facts) = facts.ok().flatten() else {
            return Duration::ZERO;
        };
        let domains = &self.applicant.settings.domains;
        if !domains.iter().all(|domain| facts.is_for(domain.as_str())) {
            return Duration::ZERO;
        }
        let renewal = schedule::renew_at(&facts, self.chance);
        let left = renewal.duration_since(SystemTime::now());
        left.unwrap_or_default()
    }

    async fn renew(&self) -> Result<(), Error> {
        tracing::info!(
            directory = self.applicant.settings.directory,
            "asking for a certificate"
        );
        let obtained = tokio::time::timeout(TIMEOUT, self.applicant.obtain());
        let pem = obtained.await.map_err(|_| Error::Timeout)??;
        let draft = self.applicant.state.draft(&pem)?;
        check(&draft, &self.applicant.settings).map_err(Error::Useless)?;
        draft.keep(CERTIFICATE)?;
        super::reload(&self.certificates).await;
        Ok(())
    }
}

/// What the certificate from before says, if it can be used.
fn stored(path: &std::path::Path) -> Option<Facts> {
    let loaded = Pair::new(path, path, "tls.acme.").load(&super::provider());
    loaded.ok().map(|loaded| loaded.facts)
}

/// Looks at what was issued before it takes the place of what works.
fn check(draft: &state::Draft, settings: &Acme) -> Result<(), super::Error> {
    let pair = Pair::new(draft.path(), draft.path(), "tls.acme.");
    let loaded = pair.load(&super::provider())?;
    let dates = loaded.facts.check_dates(SystemTime::now());
    dates.map_err(|flaw| pair.flawed(flaw))?;
    let mut domains = settings.domains.iter();
    match domains.find(|domain| !loaded.facts.is_for(domain.as_str())) {
        None => Ok(()),
        Some(domain) => Err(super::Error::Uncovered {
            host: domain.as_str().to_owned(),
            names: loaded.facts.names.join(", "),
        }),
    }
}

const CERTIFICATE: &str = "certificate.pem";
/// How long one certificate may take.
const TIMEOUT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(3600);
