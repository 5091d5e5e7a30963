//! The HTTP client for the CA, with limits for time and size. It also records the
//! `Retry-After` of errors, which the ACME crate ignores.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};

use super::{Acme, Error};
use crate::tls;
use crate::tls::error::FileOrigin;
use crate::tls::pem_files::read_chain;
use crate::tls::provider;

type ClientResult = Result<BytesResponse, instant_acme::Error>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The last `Retry-After` with which the CA has rejected a request. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct CaRetryAfter(Arc<Mutex<Option<Duration>>>);

impl CaRetryAfter {
    /// Takes the value; `None` if the CA has sent none since the last call.
    pub(super) fn take(&self) -> Option<Duration> {
        self.0.lock().take()
    }
}

/// The HTTPS client for requests to the CA.
#[derive(Debug)]
pub(super) struct CaHttpClient {
    inner: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    retry_after: CaRetryAfter,
}

impl CaHttpClient {
    /// Creates a client that trusts the system's CAs, or only the one in `settings`.
    ///
    /// # Errors
    /// Returns [`Error::Authority`] if the CA of the settings is unusable, and [`Error::NoRoots`] if the system has no CAs.
    pub(super) fn new(settings: &Acme, retry_after: CaRetryAfter) -> Result<Self, Error> {
        let builder = HttpsConnectorBuilder::new();
        let connector = match &settings.directory_ca_file {
            Some(path) => {
                let place = FileOrigin {
                    path: path.clone(),
                    key: "tls.acme.directory_ca_file".to_owned(),
                };
                let mut roots = RootCertStore::empty();
                for root in read_chain(&place).map_err(Error::Authority)? {
                    roots.add(root).map_err(|error| {
                        Error::Authority(tls::Error::Authorities {
                            place: place.clone(),
                            source: error.into(),
                        })
                    })?;
                }
                let config = ClientConfig::builder_with_provider(provider())
                    .with_safe_default_protocol_versions()
                    .expect("the provider has suites for both versions")
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                builder.with_tls_config(config)
            }
            None => builder
                .with_provider_and_platform_verifier(provider())
                .map_err(Error::NoRoots)?,
        };
        let connector = connector.https_only().enable_http1().enable_http2().build();
        Ok(Self {
            inner: Client::builder(TokioExecutor::new()).build(connector),
            retry_after,
        })
    }
}

impl HttpClient for CaHttpClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> std::pin::Pin<Box<dyn Future<Output = ClientResult> + Send>> {
        let sent = self.inner.request(request);
        let retry_after = self.retry_after.clone();
        Box::pin(async move {
            tokio::time::timeout(RESPONSE_TIMEOUT, async {
                read_response(sent.await?, &retry_after).await
            })
            .await
            .unwrap_or_else(|_| {
                let seconds = RESPONSE_TIMEOUT.as_secs();
                Err(format!("no response within {seconds} s").into())
            })
            .map_err(instant_acme::Error::Other)
        })
    }
}

/// Reads the whole response, and records its `Retry-After` if it is an error.
///
/// # Errors
/// Returns an error if the response is larger than [`MAX_RESPONSE_BYTES`], or is an HTTP error
/// without a problem document.
async fn read_response(
    response: Response<Incoming>,
    last_retry_after: &CaRetryAfter,
) -> Result<BytesResponse, BoxError> {
    let (mut parts, incoming) = response.into_parts();
    let body = Limited::new(incoming, MAX_RESPONSE_BYTES)
        .collect()
        .await?
        .to_bytes();
    let wait = retry_after(&parts.headers);
    // The crate adds the header's value to a clock without a limit, so it gets the bounded
    // value.
    parts.headers.remove(RETRY_AFTER);
    if let Some(wait) = wait {
        let seconds = HeaderValue::from(wait.as_secs());
        parts.headers.insert(RETRY_AFTER, seconds);
    }
    if parts.status.is_client_error() || parts.status.is_server_error() {
        if wait.is_some() {
            *last_retry_after.0.lock() = wait;
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
            return Err(format!("it responded with {} and no reason", parts.status).into());
        }
    }
    Ok(BytesResponse {
        parts,
        body: Box::new(body),
    })
}

/// Parses `Retry-After` (RFC 9110 §10.2.3): seconds or a date. Returns a day at most.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The time within which a response must arrive completely.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum size of a response.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
/// The longest `Retry-After` that the edge follows.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_of_the_ca_is_parsed_and_bounded() {
        let read = |text| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers)
        };
        assert_eq!(read("3600"), Some(Duration::from_secs(3600)));
        assert_eq!(read("18446744073709551615"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("soon"), None);
    }
}
