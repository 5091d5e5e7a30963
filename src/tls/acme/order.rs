//! One certificate from a CA: account, order, challenges, key, chain (RFC 8555).

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
use super::state::State;
use super::{Acme, Challenge, Error};
use crate::core::error_chain::error_chain;
use crate::tls::certified_key::read;
use crate::tls::error::FileOrigin;
use crate::tls::{Challenges, provider};

/// Who asks whom, and where the proofs go.
#[derive(Debug)]
pub(super) struct AcmeClient {
    pub(super) settings: Acme,
    pub(super) state: State,
    pub(super) challenges: Arc<Challenges>,
    pub(super) pause: CaRetryAfter,
}

/// `account.json`.
#[derive(Serialize, Deserialize)]
struct StoredAccount<C> {
    /// An account belongs to one CA.
    directory: String,
    credentials: C,
}

impl AcmeClient {
    /// Obtains a certificate in the place of `old`: the key and the chain, in PEM.
    pub(super) async fn obtain(&self, old: Option<&CertificateDer<'_>>) -> Result<String, Error> {
        let account = self.account().await?;
        let order = self.order(&account, old).await;
        let mut order = order.map_err(|error| self.forget_lost_account(error))?;
        self.solve_challenges(&mut order).await?;
        let retries = RetryPolicy::default().timeout(ORDER_TIMEOUT);
        let status = order.poll_ready(&retries).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            let refusal = authorization_error(&mut order).await;
            return Err(refusal
                .or_else(|| status.err().map(Error::from))
                .unwrap_or(Error::NotReady));
        }
        let key = KeyPair::generate().map_err(Error::Key)?;
        order.finalize_csr(&self.signing_request(&key)?).await?;
        let chain = order.poll_certificate(&retries).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// An order that says which certificate it replaces, so that the CA counts it
    /// as a renewal (RFC 9773 §5). A CA that does not like that is asked without.
    async fn order(
        &self,
        account: &Account,
        old: Option<&CertificateDer<'_>>,
    ) -> Result<Order, instant_acme::Error> {
        let domains = self.settings.domains.iter();
        let domains: Vec<_> = domains
            .map(|domain| Identifier::Dns(domain.as_str().to_owned()))
            .collect();
        let old = old.and_then(|old| CertificateIdentifier::try_from(old).ok());
        if let Some(old) = old {
            match account
                .new_order(&NewOrder::new(&domains).replaces(old))
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
        account.new_order(&NewOrder::new(&domains)).await
    }

    /// The account from before, if there is one at this CA.
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

    /// The account from before, or a new one.
    async fn account(&self) -> Result<Account, Error> {
        if let Some(account) = self.load_account().await? {
            return Ok(account);
        }
        let directory = &self.settings.directory;
        let contact: Vec<_> = self.settings.contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.settings.terms_accepted,
            only_return_existing: false,
        };
        let external = self.external_account_key()?;
        let (account, credentials) = self
            .client()?
            .create(&wanted, directory.clone(), external.as_ref())
            .await?;
        let stored = StoredAccount {
            directory: directory.clone(),
            credentials,
        };
        let text = serde_json::to_string_pretty(&stored).map_err(Error::Account)?;
        self.state.draft(&text)?.keep(ACCOUNT_FILE)?;
        tracing::info!(name: "acme_account_created", directory, "ACME account created");
        Ok(account)
    }

    /// A CA may forget accounts: then the next try makes a new one.
    fn forget_lost_account(&self, error: instant_acme::Error) -> Error {
        match is_of(&error, NO_ACCOUNT).then(|| self.state.remove(ACCOUNT_FILE)) {
            Some(Err(error)) => error,
            _ => error.into(),
        }
    }

    fn client(&self) -> Result<AccountBuilder, Error> {
        let http = CaHttpClient::new(&self.settings, self.pause.clone())?;
        Ok(Account::builder_with_http(Box::new(http)))
    }

    fn external_account_key(&self) -> Result<Option<ExternalAccountKey>, Error> {
        let Some(external) = &self.settings.external_account else {
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

    /// Proves every name that is not proved yet.
    async fn solve_challenges(&self, order: &mut Order) -> Result<(), Error> {
        let kind = match self.settings.challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let mut challenge = authorization
                .challenge(kind.clone())
                .ok_or_else(|| Error::NotOffered(name.clone()))?;
            let proof = challenge.key_authorization();
            match self.settings.challenge {
                Challenge::Http01 => {
                    let token = challenge.token.clone();
                    let proof = proof.as_str().to_owned();
                    self.challenges.set_http(token, proof);
                }
                Challenge::TlsAlpn01 => {
                    let proof = challenge_certificate(&name, &proof).map_err(Error::Key)?;
                    self.challenges.set_tls(&name, Arc::new(proof));
                }
            }
            challenge.set_ready().await?;
        }
        Ok(())
    }

    fn signing_request(&self, key: &KeyPair) -> Result<Vec<u8>, Error> {
        let domains = self.settings.domains.iter();
        let domains: Vec<_> = domains.map(|domain| domain.as_str().to_owned()).collect();
        let mut params = CertificateParams::new(domains).map_err(Error::Key)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(key).map_err(Error::Key)?;
        Ok(request.der().to_vec())
    }
}

/// The certificate that proves `name` in a handshake (RFC 8737 §3).
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
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider().key_provider.load_private_key(key);
    let key = key.expect("it was made just now");
    // Not `from_der`, which stumbles over the critical extension.
    Ok(CertifiedKey::new(vec![certificate.into()], key))
}

/// Which name the CA could not prove, and why, in its own words.
async fn authorization_error(order: &mut Order) -> Option<Error> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let told = state.challenges.iter().find_map(|one| one.error.as_ref());
        if let Some(problem) = told {
            return Some(Error::Refused {
                name,
                reason: problem.to_string(),
            });
        }
    }
    None
}

fn is_of(error: &instant_acme::Error, kind: &str) -> bool {
    match error {
        instant_acme::Error::Api(problem) => problem.r#type.as_deref() == Some(kind),
        _ => false,
    }
}

/// Whether an order that asks for less would fail in the same way.
fn is_final(error: &instant_acme::Error) -> bool {
    is_of(error, NO_ACCOUNT) || is_of(error, RATE_LIMITED)
}

const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";
const ACCOUNT_FILE: &str = "account.json";
const ORDER_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
