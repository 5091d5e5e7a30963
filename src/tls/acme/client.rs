//! HTTP to the CA: bounded in time and size, and with an eye on how long the CA
//! wants to be left alone, which the protocol's crate passes over in errors.

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
use crate::tls::certified_key::read_chain;
use crate::tls::error::FileOrigin;
use crate::tls::provider;

type Answer = Result<BytesResponse, instant_acme::Error>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long the CA wanted to be left alone when it last refused something.
#[derive(Clone, Debug, Default)]
pub(super) struct CaRetryAfter(Arc<Mutex<Option<Duration>>>);

impl CaRetryAfter {
    /// None if the CA has said nothing since the last time that this was asked.
    pub(super) fn take(&self) -> Option<Duration> {
        self.0.lock().take()
    }
}

/// Asks the CA.
#[derive(Debug)]
pub(super) struct CaHttpClient {
    inner: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    pause: CaRetryAfter,
}

impl CaHttpClient {
    /// Trusts whom the system trusts, or the CA that `settings` name.
    pub(super) fn new(settings: &Acme, pause: CaRetryAfter) -> Result<Self, Error> {
        let builder = HttpsConnectorBuilder::new();
        let connector = match &settings.directory_ca {
            Some(path) => {
                let place = FileOrigin {
                    path: path.clone(),
                    key: "tls.acme.directory_ca".to_owned(),
                };
                let mut roots = RootCertStore::empty();
                for root in read_chain(&place).map_err(Error::Authority)? {
                    let added = roots.add(root);
                    added.map_err(|error| instant_acme::Error::Other(error.into()))?;
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
            pause,
        })
    }
}

impl HttpClient for CaHttpClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> {
        let sent = self.inner.request(request);
        let pause = self.pause.clone();
        Box::pin(async move {
            let answered = tokio::time::timeout(RESPONSE_TIMEOUT, async {
                read_response(sent.await?, &pause).await
            });
            let answered = answered.await.unwrap_or_else(|_| {
                let seconds = RESPONSE_TIMEOUT.as_secs();
                Err(format!("no answer within {seconds} s").into())
            });
            answered.map_err(instant_acme::Error::Other)
        })
    }
}

/// Reads the whole answer.
async fn read_response(
    answer: Response<Incoming>,
    pause: &CaRetryAfter,
) -> Result<BytesResponse, Failure> {
    let (mut parts, body) = answer.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES)
        .collect()
        .await?
        .to_bytes();
    let wait = retry_after(&parts.headers);
    // As it was read here: the crate adds any number to a clock.
    parts.headers.remove(RETRY_AFTER);
    if let Some(wait) = wait {
        let seconds = HeaderValue::from(wait.as_secs());
        parts.headers.insert(RETRY_AFTER, seconds);
    }
    if parts.status.is_client_error() || parts.status.is_server_error() {
        if wait.is_some() {
            *pause.0.lock() = wait;
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
            return Err(format!("it answered {} and does not say why", parts.status).into());
        }
    }
    Ok(BytesResponse {
        parts,
        body: Box::new(body),
    })
}

/// RFC 9110 §10.2.3. A day at most: who says a year is asked again all the same.
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

/// How long one answer may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How large one may be.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_ca_says_about_waiting_is_read_and_bounded() {
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
