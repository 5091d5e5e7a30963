//! One ACME order (RFC 8555): account, order, challenges, key, and certificate chain.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    ExternalAccountKey, Identifier, KeyAuthorization, NewAccount, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::client::{CaHttpClient, CaRetryAfter};
use super::settings::Contact;
use super::state::State;
use super::{Acme, Challenge, Error};
use crate::core::error_chain::error_chain;
use crate::tls::error::FileOrigin;
use crate::tls::pem_files::read;
use crate::tls::{Challenges, provider};

/// A client of one CA, with the state it needs for orders.
#[derive(Debug)]
pub(super) struct AcmeClient {
    pub(super) settings: Acme,
    pub(super) state: State,
    pub(super) challenges: Arc<Challenges>,
    /// The CA's last `Retry-After` of an error.
    pub(super) pause: CaRetryAfter,
}

/// The contents of `account.json`.
#[derive(Serialize, Deserialize)]
struct StoredAccount<C> {
    /// The URL of the ACME directory: an account belongs to one CA.
    directory: String,
    credentials: C,
}

impl AcmeClient {
    /// Obtains a certificate that replaces `old`, and returns its new key and its chain in
    /// PEM.
    ///
    /// Dropping the future abandons the order. The caller clears the challenges.
    ///
    /// # Errors
    /// Returns [`Error::ChallengeFailed`] with the CA's reason if it could not validate a challenge,
    /// [`Error::NotReady`] if it gives no reason, and otherwise the variant for the failed
    /// step.
    pub(super) async fn obtain(&self, old: Option<&CertificateDer<'_>>) -> Result<String, Error> {
        let account = self.account().await?;
        let mut order = self
            .order(&account, old)
            .await
            .map_err(|error| self.forget_lost_account(error))?;
        self.solve_challenges(&mut order).await?;
        let retries = RetryPolicy::default().timeout(ORDER_TIMEOUT);
        let status = order.poll_ready(&retries).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            let rejection = authorization_error(&mut order).await;
            return Err(rejection
                .or_else(|| status.err().map(Error::from))
                .unwrap_or(Error::NotReady));
        }
        let key = KeyPair::generate().map_err(Error::Key)?;
        order.finalize_csr(&self.signing_request(&key)?).await?;
        let chain = order.poll_certificate(&retries).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// Creates an order that names the certificate it replaces, so that the CA counts it as a
    /// renewal (RFC 9773 §5). Creates an order without it if the CA rejects that.
    async fn order(
        &self,
        account: &Account,
        old: Option<&CertificateDer<'_>>,
    ) -> Result<Order, instant_acme::Error> {
        let names = self.settings.names().into_iter();
        let identifiers: Vec<_> = names.map(Identifier::Dns).collect();
        if let Some(replaced) = old.and_then(|old| CertificateIdentifier::try_from(old).ok()) {
            match account
                .new_order(&NewOrder::new(&identifiers).replaces(replaced))
                .await
            {
                Err(error) if !is_final(&error) => {
                    tracing::debug!(
                        name: "acme_replacement_rejected",
                        error = error_chain(&error),
                        "ACME replacement order rejected"
                    );
                }
                order => return order,
            }
        }
        account.new_order(&NewOrder::new(&identifiers)).await
    }

    /// Loads the stored account; `None` if there is none at this CA.
    ///
    /// # Errors
    /// Returns [`Error::State`] or [`Error::Account`] if the file is unusable, and
    /// [`Error::Server`] if the CA cannot be reached.
    pub(super) async fn load_account(&self) -> Result<Option<Account>, Error> {
        let Some(text) = self.state.read(ACCOUNT_FILE)? else {
            return Ok(None);
        };
        let stored: StoredAccount<_> = serde_json::from_str(&text).map_err(Error::Account)?;
        if stored.directory != self.settings.directory {
            return Ok(None);
        }
        let account = self.client()?.from_credentials(stored.credentials);
        Ok(Some(account.await?))
    }

    /// Loads the stored account, or creates and stores a new one.
    async fn account(&self) -> Result<Account, Error> {
        if let Some(account) = self.load_account().await? {
            return Ok(account);
        }
        let directory = &self.settings.directory;
        let contact: Vec<_> = self.settings.contact.iter().map(Contact::as_str).collect();
        let request = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.settings.terms_of_service_agreed,
            only_return_existing: false,
        };
        let external = external_account_key(&self.settings)?;
        let (account, credentials) = self
            .client()?
            .create(&request, directory.clone(), external.as_ref())
            .await?;
        let stored = StoredAccount {
            directory: directory.clone(),
            credentials,
        };
        let text = serde_json::to_string_pretty(&stored).map_err(Error::Account)?;
        self.state.draft(&text)?.persist(ACCOUNT_FILE)?;
        tracing::info!(name: "acme_account_created", directory, "ACME account created");
        Ok(account)
    }

    /// Removes the stored account if the CA does not know it any more, so that the next
    /// attempt creates a new one. Returns the error to report.
    fn forget_lost_account(&self, error: instant_acme::Error) -> Error {
        if is_problem(&error, NO_ACCOUNT)
            && let Err(state) = self.state.remove(ACCOUNT_FILE)
        {
            return state;
        }
        error.into()
    }

    fn client(&self) -> Result<AccountBuilder, Error> {
        let http = CaHttpClient::new(&self.settings, self.pause.clone())?;
        Ok(Account::builder_with_http(Box::new(http)))
    }

    /// Sets up the challenges of all names that are not validated yet, and reports them to the
    /// CA as ready.
    async fn solve_challenges(&self, order: &mut Order) -> Result<(), Error> {
        let kind = match self.settings.challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            // The CA may still know the result of an earlier order.
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let mut challenge = authorization
                .challenge(kind.clone())
                .ok_or_else(|| Error::NotOffered(name.clone()))?;
            let authorization_key = challenge.key_authorization();
            match self.settings.challenge {
                Challenge::Http01 => self.challenges.set_http(
                    challenge.token.clone(),
                    authorization_key.as_str().to_owned(),
                ),
                Challenge::TlsAlpn01 => {
                    let certificate =
                        challenge_certificate(&name, &authorization_key).map_err(Error::Key)?;
                    self.challenges.set_tls(&name, Arc::new(certificate));
                }
            }
            // From here on the CA may connect, so the challenge must be in place.
            challenge.set_ready().await?;
        }
        Ok(())
    }

    /// Returns the certificate signing request in DER, with all names and no subject.
    fn signing_request(&self, key: &KeyPair) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::new(self.settings.names()).map_err(Error::Key)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(key).map_err(Error::Key)?;
        Ok(request.der().to_vec())
    }
}

/// Reads the key of the external account, if one is configured (RFC 8555 §7.3.4). Blocks.
///
/// # Errors
/// Returns [`Error::Authority`] if the file cannot be read, and [`Error::ExternalKey`] if it
/// holds no key.
pub(super) fn external_account_key(settings: &Acme) -> Result<Option<ExternalAccountKey>, Error> {
    let Some(external) = &settings.external_account else {
        return Ok(None);
    };
    let place = FileOrigin {
        path: external.key_file.clone(),
        key: "tls.acme.external_account.key_file".to_owned(),
    };
    let mut text = read(&place).map_err(Error::Authority)?;
    text.retain(|byte| *byte != b'=');
    let key = URL_SAFE_NO_PAD
        .decode(text.trim_ascii())
        .map_err(|_| Error::ExternalKey(external.key_file.clone()))?;
    Ok(Some(ExternalAccountKey::new(external.id.clone(), &key)))
}

/// Creates the self-signed certificate for the TLS-ALPN-01 challenge of `name` (RFC 8737 §3).
fn challenge_certificate(
    name: &str,
    proof: &KeyAuthorization,
) -> Result<CertifiedKey, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    let digest = proof.digest();
    let identifier = CustomExtension::new_acme_identifier(digest.as_ref());
    params.custom_extensions = vec![identifier];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let signing_key = provider()
        .key_provider
        .load_private_key(PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a key just made is supported");
    // Not `from_der`, which rejects the critical extension.
    Ok(CertifiedKey::new(vec![certificate.into()], signing_key))
}

/// Returns the first name that the CA could not validate, with the CA's own reason.
async fn authorization_error(order: &mut Order) -> Option<Error> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let problem = state.challenges.iter().find_map(|one| one.error.as_ref());
        if let Some(problem) = problem {
            return Some(Error::ChallengeFailed {
                name,
                reason: problem.to_string(),
            });
        }
    }
    None
}

/// Returns whether the CA has reported a problem of the type `kind` (RFC 8555 §6.7).
fn is_problem(error: &instant_acme::Error, kind: &str) -> bool {
    match error {
        instant_acme::Error::Api(problem) => problem.r#type.as_deref() == Some(kind),
        _ => false,
    }
}

/// Returns whether an order without `replaces` would fail in the same way.
fn is_final(error: &instant_acme::Error) -> bool {
    is_problem(error, NO_ACCOUNT) || is_problem(error, RATE_LIMITED)
}

const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
pub(super) const ACCOUNT_FILE: &str = "account.json";
/// The time within which the CA must validate the challenges, and then issue the certificate.
const ORDER_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
