//! When the CA wants a certificate to be renewed (ARI, RFC 9773): earlier than
//! otherwise if it must take certificates back.

use std::time::{Duration, SystemTime};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::order::Applicant;
use super::schedule::Window;
use crate::tls::facts::date;

/// What the CA said last.
#[derive(Debug, Default)]
pub(super) struct Advice {
    about: Option<CertificateDer<'static>>,
    window: Option<Window>,
    /// When it is asked again.
    next: Option<Instant>,
}

impl Advice {
    /// The CA's wish about `certificate`, asked for if it is time to. Whatever
    /// goes wrong, there is a schedule without it.
    pub(super) async fn about(
        &mut self,
        certificate: &CertificateDer<'static>,
        applicant: &Applicant,
    ) -> Option<Window> {
        let is_known = self.about.as_ref() == Some(certificate);
        if is_known && self.next.is_some_and(|next| Instant::now() < next) {
            return self.window;
        }
        if !is_known {
            self.window = None;
        }
        self.about = Some(certificate.clone());
        let pause = match applicant.advice(certificate).await {
            Ok(Some((window, pause))) => {
                self.hear(window);
                pause.clamp(SHORTEST, DAY)
            }
            Ok(None) => DAY,
            Err(error) => {
                tracing::info!(%error, "the CA does not say when to renew");
                AFTER_FAILURE
            }
        };
        self.next = Some(Instant::now() + pause);
        self.window
    }

    fn hear(&mut self, window: Option<Window>) {
        if self.window != window
            && let Some(Window { start, end }) = window
        {
            let (from, until) = (date(start), date(end));
            tracing::info!(from, until, "the CA says when to renew");
        }
        self.window = window;
    }
}

impl Applicant {
    /// What the CA says about `certificate`, and when to ask again. None if
    /// there is no account, or the CA says no such thing.
    async fn advice(
        &self,
        certificate: &CertificateDer<'static>,
    ) -> Result<Option<(Option<Window>, Duration)>, super::Error> {
        let Ok(id) = CertificateIdentifier::try_from(certificate) else {
            return Ok(None);
        };
        let Some(account) = self.known_account().await? else {
            return Ok(None);
        };
        match account.renewal_info(&id).await {
            Ok((info, again)) => {
                let (start, end) = (info.suggested_window.start, info.suggested_window.end);
                let window = Window::new(SystemTime::from(start), SystemTime::from(end));
                Ok(Some((window, again)))
            }
            Err(instant_acme::Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

// RFC 9773 §4.3.2 and §4.3.3.
const SHORTEST: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(6 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
