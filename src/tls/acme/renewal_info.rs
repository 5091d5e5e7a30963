//! When the CA wants a certificate to be renewed (ARI, RFC 9773): earlier than
//! otherwise if it must take certificates back.

use std::time::{Duration, SystemTime};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::order::AcmeClient;
use super::schedule::Window;
use crate::core::error_chain::error_chain;
use crate::tls::certificate_info::format_date;

/// What the CA said last.
#[derive(Debug, Default)]
pub(super) struct RenewalInfo {
    about: Option<CertificateDer<'static>>,
    window: Option<Window>,
    /// When it is asked again.
    next: Option<Instant>,
}

impl RenewalInfo {
    /// The CA's wish about `certificate`, asked for if it is time to. Whatever
    /// goes wrong, there is a schedule without it.
    pub(super) async fn window_for(
        &mut self,
        certificate: &CertificateDer<'static>,
        client: &AcmeClient,
    ) -> Option<Window> {
        let is_known = self.about.as_ref() == Some(certificate);
        if is_known && self.next.is_some_and(|next| Instant::now() < next) {
            return self.window;
        }
        if !is_known {
            self.window = None;
        }
        self.about = Some(certificate.clone());
        let pause = match client.fetch_renewal_info(certificate).await {
            Ok(Some((window, pause))) => {
                self.update(window);
                pause.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)
            }
            Ok(None) => MAX_RETRY_AFTER,
            Err(error) => {
                tracing::info!(
                    name: "acme_renewal_info_unavailable",
                    error = error_chain(&error),
                    "renewal information unavailable"
                );
                FAILURE_RETRY_INTERVAL
            }
        };
        self.next = Some(Instant::now() + pause);
        self.window
    }

    fn update(&mut self, window: Option<Window>) {
        if self.window != window
            && let Some(Window { start, end }) = window
        {
            let (from, until) = (format_date(start), format_date(end));
            tracing::info!(
                name: "acme_renewal_window",
                from,
                until,
                "renewal window received"
            );
        }
        self.window = window;
    }
}

impl AcmeClient {
    /// What the CA says about `certificate`, and when to ask again. None if
    /// there is no account, or the CA says no such thing.
    async fn fetch_renewal_info(
        &self,
        certificate: &CertificateDer<'static>,
    ) -> Result<Option<(Option<Window>, Duration)>, super::Error> {
        let Ok(id) = CertificateIdentifier::try_from(certificate) else {
            return Ok(None);
        };
        let Some(account) = self.load_account().await? else {
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
const MIN_RETRY_AFTER: Duration = Duration::from_secs(60);
const FAILURE_RETRY_INTERVAL: Duration = Duration::from_secs(6 * 3600);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
