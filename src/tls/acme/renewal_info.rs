//! ACME renewal information (ARI, RFC 9773): the window in which the CA wants a certificate
//! renewed. It is earlier than usual if the CA has to revoke certificates.

use std::time::{Duration, SystemTime};

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::order::AcmeClient;
use super::schedule::Window;
use crate::core::error_chain::error_chain;
use crate::tls::certificate_info::format_date;

/// The last renewal information from the CA.
#[derive(Debug, Default)]
pub(super) struct RenewalInfo {
    /// The certificate that the information is about.
    about: Option<CertificateDer<'static>>,
    window: Option<Window>,
    /// The time of the next request.
    next: Option<Instant>,
}

impl RenewalInfo {
    /// Returns the CA's window for `certificate`; fetches it if that is due. A failure is only
    /// logged, since there is a schedule without a window.
    pub(super) async fn window_for(
        &mut self,
        certificate: &CertificateDer<'static>,
        client: &AcmeClient,
    ) -> Option<Window> {
        let is_same = self.about.as_ref() == Some(certificate);
        if is_same && self.next.is_some_and(|next| Instant::now() < next) {
            return self.window;
        }
        if !is_same {
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

    /// Stores `window`, and logs it if it has changed.
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
    /// Fetches the window for `certificate`, and the time until the next request. Returns
    /// `None` if there is no account yet, or the CA does not support ARI.
    ///
    /// # Errors
    /// Returns the errors of [`AcmeClient::load_account`], and [`super::Error::Server`] if the
    /// request fails.
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
