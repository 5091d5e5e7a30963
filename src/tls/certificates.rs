//! All certificates in use: loaded at start, reloaded when their files change, and looked up
//! in every handshake.
//!
//! A reload swaps the SNI table inside the resolver. Open connections are not affected, and
//! session tickets stay valid.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate_info::CertificateInfo;
use super::certified_key::{KeyPairFiles, LoadedKeyPair};
use super::error::Error;
use super::expiry::CertificateExpiry;
use super::order_status::OrderStatus;
use super::sni::SniTable;
use super::{ACME_TLS, Acme, Challenges, Settings, provider};
use crate::core::error_chain::error_chain;

/// All certificates, by name. One instance lives as long as `[tls]` does not change.
#[derive(Debug)]
pub struct Certificates {
    pairs: Vec<KeyPairFiles>,
    hosts: Vec<String>,
    provider: Arc<CryptoProvider>,
    table: ArcSwap<SniTable>,
    /// Serializes reloads. Handshakes and reports never take it.
    reload_lock: Mutex<()>,
    /// The last logged error of files that are not in use, so that it is logged once and not
    /// at every check; empty if all are. A leaf lock.
    last_error: Mutex<String>,
    challenges: Arc<Challenges>,
    /// The names of the ACME client's certificate; empty if ACME is off.
    acme_names: Vec<String>,
    orders: Arc<OrderStatus>,
}

impl Certificates {
    /// Loads the certificates that `settings` name. Blocks.
    ///
    /// A broken file of the ACME client counts as missing, since the client requests another
    /// certificate. A wrong date is no error, since an expired certificate is better than none.
    ///
    /// # Errors
    /// Returns [`Error::Read`], [`Error::Invalid`] or [`Error::Mismatch`] if a file is missing
    /// or unusable, and [`Error::Uncovered`] if a host has no certificate.
    pub fn load(settings: &Settings) -> Result<Self, Error> {
        let provider = provider();
        let pairs = pairs(settings);
        let mut unusable = String::new();
        let mut slots = pairs
            .iter()
            .map(|pair| match pair.load_if_there(&provider) {
                Err(error) if pair.is_acme() => {
                    unusable = error_chain(&error);
                    Ok(None)
                }
                loaded => Ok(loaded?.map(Arc::new)),
            })
            .collect::<Result<Vec<_>, Error>>()?;
        if !unusable.is_empty() {
            tracing::warn!(
                name: "stored_certificate_unusable",
                error = unusable,
                "stored certificate unusable"
            );
        }
        if let Some(empty) = slots.iter_mut().find(|slot| slot.is_none())
            && settings.acme.self_signed_fallback
        {
            *empty = Some(Arc::new(self_signed_fallback(&settings.acme, &provider)));
        }
        let table = SniTable::new(slots);
        check_coverage(&table, &settings.hosts)?;
        Ok(Self {
            pairs,
            hosts: settings.hosts.clone(),
            provider,
            table: ArcSwap::from_pointee(table),
            reload_lock: Mutex::default(),
            last_error: Mutex::new(unusable),
            challenges: Arc::default(),
            acme_names: settings.acme.names(),
            orders: Arc::default(),
        })
    }

    /// Reloads all files. A pair whose new files are unusable stays as it is. The error is
    /// logged once, until it changes. Blocks.
    pub(crate) fn reload(&self) {
        let _lock = self.reload_lock.lock();
        let old = self.table.load_full();
        let mut wrong = Vec::new();
        let slots = self.pairs.iter().zip(old.slots()).map(|(pair, old)| {
            let renewed = self.renewed(pair, old.as_deref()).unwrap_or_else(|error| {
                wrong.push(error_chain(&error));
                None
            });
            renewed.or_else(|| old.clone())
        });
        let table = SniTable::new(slots.collect());
        match check_coverage(&table, &self.hosts) {
            Ok(()) => self.replace(&old, table),
            Err(error) => wrong.push(error_chain(&error)),
        }
        log_change(&mut self.last_error.lock(), &wrong.join("; "));
    }

    /// Loads `pair`, and returns `None` if its certificate is still the one in `old`.
    ///
    /// # Errors
    /// Returns the errors of [`KeyPairFiles::load`], and [`Error::Invalid`] if the new
    /// certificate is not valid today, but the old one is.
    fn renewed(
        &self,
        pair: &KeyPairFiles,
        old: Option<&LoadedKeyPair>,
    ) -> Result<Option<Arc<LoadedKeyPair>>, Error> {
        let Some(new) = pair.load_if_there(&self.provider)? else {
            return Ok(None);
        };
        if old.is_some_and(|old| new.certified.cert == old.certified.cert) {
            return Ok(None);
        }
        let now = SystemTime::now();
        let is_good = |old: &LoadedKeyPair| !old.is_fallback && old.check_dates(now).is_ok();
        if let Err(problem) = new.check_dates(now)
            && old.is_some_and(is_good)
        {
            return Err(pair.invalid(problem));
        }
        for doubt in pair.warnings(&new) {
            tracing::warn!(
                name: "certificate_needs_attention",
                detail = doubt,
                "certificate needs attention"
            );
        }
        Ok(Some(Arc::new(new)))
    }

    /// Swaps the table if it has changed, and logs the new certificates.
    fn replace(&self, old: &SniTable, new: SniTable) {
        let was_there = |new: &Arc<LoadedKeyPair>| old.all().any(|old| Arc::ptr_eq(old, new));
        let changed: Vec<_> = new.all().filter(|new| !was_there(new)).cloned().collect();
        if changed.is_empty() {
            return;
        }
        self.table.store(Arc::new(new));
        for loaded in changed {
            let certificate = CertificateExpiry::new(&loaded, SystemTime::now());
            tracing::info!(
                name: "certificate_loaded",
                %certificate, "certificate loaded"
            );
            if certificate.problem.is_some() {
                certificate.log();
            }
        }
    }

    /// Returns warnings about what works but is probably a mistake, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let table = self.table.load();
        self.pairs
            .iter()
            .zip(table.slots())
            .filter_map(|(pair, loaded)| Some(pair.warnings(loaded.as_ref()?)))
            .flatten()
            .collect()
    }

    /// Returns the expiry of each certificate, without the self-signed fallback.
    pub(crate) fn expiry(&self) -> Vec<CertificateExpiry> {
        let (table, now) = (self.table.load(), SystemTime::now());
        table
            .all()
            .filter(|loaded| !loaded.is_fallback)
            .map(|loaded| CertificateExpiry::new(loaded, now))
            .collect()
    }

    /// Returns whether there is no certificate at all, so that every handshake fails.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.load().all().next().is_none()
    }

    /// Returns the certificate that the CA has issued over ACME.
    pub(super) fn acme_certificate(&self) -> Option<Arc<LoadedKeyPair>> {
        // It is the last one: see `pairs`.
        let slot = self.table.load().slots().last().cloned().flatten();
        slot.filter(|loaded| !self.acme_names.is_empty() && !loaded.is_fallback)
    }

    /// Returns the error of certificate files that are not in use; the edge serves the last
    /// good ones.
    pub(crate) fn file_problem(&self) -> Option<String> {
        let error = self.last_error.lock();
        (!error.is_empty()).then(|| error.clone())
    }

    /// Lets the ACME client retry a failed order now.
    pub(crate) fn retry_order(&self) {
        self.orders.retry_now();
    }

    /// Returns the names of the ACME client's certificate; none if ACME is off.
    pub(super) fn acme_names(&self) -> &[String] {
        &self.acme_names
    }

    /// Returns the state of the ACME client's orders.
    pub(super) fn orders(&self) -> Arc<OrderStatus> {
        Arc::clone(&self.orders)
    }

    /// Returns the pending ACME challenges.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// Returns the paths of all certificate and key files.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.pairs
            .iter()
            .flat_map(KeyPairFiles::paths)
            .map(ToOwned::to_owned)
            .collect()
    }
}

/// Logs `wrong` if it differs from the `last` error, and logs the recovery if it is empty.
fn log_change(last: &mut String, wrong: &str) {
    if *last == wrong {
        return;
    }
    if wrong.is_empty() {
        tracing::info!(name: "certificate_files_valid", "certificate files valid again")
    } else {
        tracing::warn!(
            name: "certificate_files_rejected",
            error = wrong,
            "new certificate files rejected"
        )
    }
    wrong.clone_into(last);
}

/// Checks that every host has a certificate, unless one is missing that ACME will obtain: it
/// may cover the host.
///
/// # Errors
/// Returns [`Error::Uncovered`] for the first one that has none.
fn check_coverage(table: &SniTable, hosts: &[String]) -> Result<(), Error> {
    if table.slots().iter().any(Option::is_none) {
        return Ok(());
    }
    match table.uncovered(hosts) {
        None => Ok(()),
        Some(host) => Err(Error::Uncovered {
            host: host.clone(),
            names: table.names(),
        }),
    }
}

/// Returns all pairs, the default one first. With ACME the pair of `tls.certificate` is
/// optional, and the ACME client's own pair comes last.
fn pairs(settings: &Settings) -> Vec<KeyPairFiles> {
    let acme = settings.acme.is_on();
    let mut pairs = Vec::new();
    if !acme || settings.certificate.exists() {
        pairs.push(KeyPairFiles::new(
            &settings.certificate,
            &settings.key,
            "tls.",
        ));
    }
    pairs.extend(settings.certificates.iter().enumerate().map(|(at, pair)| {
        let prefix = format!("[[tls.certificates]] no. {}, ", at + 1);
        KeyPairFiles::new(&pair.certificate, &pair.key, &prefix)
    }));
    if acme {
        pairs.push(KeyPairFiles::from_acme(&settings.acme.certificate()));
    }
    pairs
}

/// Creates a self-signed certificate, which clients do not trust, for the time until the CA
/// has issued one.
fn self_signed_fallback(acme: &Acme, provider: &CryptoProvider) -> LoadedKeyPair {
    let made = rcgen::generate_simple_self_signed(acme.names())
        .expect("the configuration accepts only DNS names");
    let chain = vec![CertificateDer::from(made.cert)];
    let info = CertificateInfo::parse(&chain[0]).expect("a certificate just made is well-formed");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let certified = CertifiedKey::from_der(chain, key, provider);
    tracing::warn!(
        name: "self_signed_certificate",
        "serving a self-signed certificate"
    );
    LoadedKeyPair {
        certified: Arc::new(certified.expect("a certificate just made matches its key")),
        info,
        issuers: Vec::new(),
        doubts: Vec::new(),
        path: "(temporary)".into(),
        is_fallback: true,
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_acme_challenge = hello
            .alpn()
            .is_some_and(|mut names| names.any(|name| name == ACME_TLS));
        if is_acme_challenge {
            return self.challenges.tls_certificate(hello.server_name()?);
        }
        let table = self.table.load();
        let chosen = table.choose(hello.server_name(), hello.signature_schemes())?;
        Some(Arc::clone(&chosen.certified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_with_acme(state: &std::path::Path) -> Settings {
        let text = format!(
            "hosts = [\"desk.example\"]\n[acme]\nterms_of_service_agreed = true\n\
             domains = [\"desk.example\"]\nstorage = {state:?}\n"
        );
        let mut settings: Settings = toml::from_str(&text).unwrap();
        settings.certificate = state.join("cert.pem");
        settings.key = state.join("key.pem");
        settings
    }

    #[test]
    fn broken_acme_certificate_does_not_prevent_startup_and_is_reported() {
        let state = tempfile::tempdir().unwrap();
        let settings = settings_with_acme(state.path());
        let half = "-----BEGIN CERTIFICATE-----\nxx";
        std::fs::write(settings.acme.certificate(), half).unwrap();
        let certificates = Certificates::load(&settings).unwrap();
        assert!(certificates.expiry().is_empty() && certificates.is_empty());
        let problem = certificates.file_problem().unwrap();
        assert!(problem.contains("ends in the middle"), "{problem}");
    }

    /// The missing certificate may cover the host of `tls.hosts` that no other one has.
    #[test]
    fn missing_acme_certificate_does_not_stop_the_renewal_of_others() {
        let state = tempfile::tempdir().unwrap();
        let settings = settings_with_acme(state.path());
        let write = || {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(&settings.certificate, made.cert.pem()).unwrap();
            std::fs::write(&settings.key, made.signing_key.serialize_pem()).unwrap();
            made.cert.der().clone()
        };
        write();
        let certificates = Certificates::load(&settings).unwrap();
        let renewed = write();
        certificates.reload();
        let table = certificates.table.load();
        let shown = &table.all().next().unwrap().certified.cert[0];
        assert_eq!(*shown, renewed);
        assert_eq!(certificates.file_problem(), None);
    }
}
