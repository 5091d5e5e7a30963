//! The certificates of the process: read when it starts, read again when they
//! change, looked up in every handshake.
//!
//! A reload replaces the table inside of the one resolver, so nothing else
//! notices: open connections keep what they have, tickets stay valid.

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
use super::sni::SniTable;
use super::{ACME_TLS, Acme, Challenges, Settings, provider};
use crate::core::error_chain::error_chain;

/// All certificates, by name. Made once.
#[derive(Debug)]
pub struct Certificates {
    pairs: Vec<KeyPairFiles>,
    hosts: Vec<String>,
    provider: Arc<CryptoProvider>,
    table: ArcSwap<SniTable>,
    /// What was last complained of: it is told once, not at every look. Locked
    /// while files are read again, so that two reloads cannot cross.
    complaint: Mutex<String>,
    challenges: Arc<Challenges>,
}

impl Certificates {
    /// Reads what `settings` name.
    ///
    /// # Errors
    /// A file is missing or of no use, a certificate and its key do not belong
    /// together, or a host has no certificate. A wrong date is none: it is told
    /// by [`Self::check_dates`], since an old certificate is better than none.
    pub fn load(settings: &Settings) -> Result<Self, Error> {
        let provider = provider();
        let pairs = pairs(settings);
        let slots = pairs
            .iter()
            .map(|pair| Ok(pair.load_at_start(&provider)?.map(Arc::new)));
        let mut slots = slots.collect::<Result<Vec<_>, Error>>()?;
        if let Some(empty) = slots.iter_mut().find(|slot| slot.is_none())
            && settings.acme.temporary_certificate
        {
            *empty = Some(Arc::new(self_signed_fallback(&settings.acme, &provider)));
        }
        let table = SniTable::new(slots);
        if table.all().count() == pairs.len() {
            check_coverage(&table, &settings.hosts)?;
        }
        Ok(Self {
            pairs,
            hosts: settings.hosts.clone(),
            provider,
            table: ArcSwap::from_pointee(table),
            complaint: Mutex::default(),
            challenges: Arc::default(),
        })
    }

    /// Reads all files again; does I/O. A pair that is bad now stays as it was,
    /// which is told once, until something else is wrong.
    pub fn reload(&self) {
        let mut complaint = self.complaint.lock();
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
        log_change(&mut complaint, &wrong.join("; "));
    }

    /// What `certified_key` holds now; none if that is what it held before.
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
        let dates = new.info.check_dates(SystemTime::now());
        dates.map_err(|flaw| pair.flawed(flaw))?;
        for doubt in pair.warnings(&new) {
            tracing::warn!(
                name: "certificate_needs_attention",
                detail = doubt,
                "certificate needs attention"
            );
        }
        Ok(Some(Arc::new(new)))
    }

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
        }
    }

    /// Finds a certificate that cannot be used today.
    ///
    /// # Errors
    /// One is expired, or not valid yet.
    pub fn check_dates(&self) -> Result<(), Error> {
        let table = self.table.load();
        for (pair, loaded) in self.pairs.iter().zip(table.slots()) {
            let Some(loaded) = loaded else { continue };
            let dates = loaded.info.check_dates(SystemTime::now());
            dates.map_err(|flaw| pair.flawed(flaw))?;
        }
        Ok(())
    }

    /// What is not wrong, but seldom meant; a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let table = self.table.load();
        let pairs = self.pairs.iter().zip(table.slots());
        pairs
            .filter_map(|(pair, loaded)| Some(pair.warnings(loaded.as_ref()?)))
            .flatten()
            .collect()
    }

    /// Each certificate, and how long it still lasts.
    pub fn expiry(&self) -> Vec<CertificateExpiry> {
        let (table, now) = (self.table.load(), SystemTime::now());
        let all = table.all();
        all.map(|loaded| CertificateExpiry::new(loaded, now))
            .collect()
    }

    /// What is proved to ACME servers.
    pub fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// The files that everything comes from.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let paths = self.pairs.iter().flat_map(KeyPairFiles::paths);
        paths.map(ToOwned::to_owned).collect()
    }
}

/// Tells `wrong` if it is new, and that nothing is wrong any more.
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

fn check_coverage(table: &SniTable, hosts: &[String]) -> Result<(), Error> {
    match table.uncovered(hosts) {
        None => Ok(()),
        Some(host) => Err(Error::Uncovered {
            host: host.clone(),
            names: table.names(),
        }),
    }
}

/// All pairs, the default first. Where ACME is on, the pair that every site has
/// may be missing, and ACME's own comes when it comes.
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

/// A certificate that nobody trusts, for the time until there is one.
fn self_signed_fallback(acme: &Acme, provider: &CryptoProvider) -> LoadedKeyPair {
    let names: Vec<_> = acme
        .domains
        .iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    let made = rcgen::generate_simple_self_signed(names).expect("the names are DNS names");
    let chain = vec![CertificateDer::from(made.cert)];
    let info = CertificateInfo::parse(&chain[0]).expect("it was made just now");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let certified = CertifiedKey::from_der(chain, key, provider);
    tracing::warn!(
        name: "self_signed_certificate",
        "serving a self-signed certificate"
    );
    LoadedKeyPair {
        certified: Arc::new(certified.expect("both were made for each other")),
        info,
        path: "(temporary)".into(),
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks_for_proof = hello
            .alpn()
            .is_some_and(|mut names| names.any(|name| name == ACME_TLS));
        if asks_for_proof {
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

    #[test]
    fn a_broken_certificate_of_acmes_does_not_keep_the_edge_from_starting() {
        let state = tempfile::tempdir().unwrap();
        let text = format!(
            "[acme]\nterms_accepted = true\ndomains = [\"desk.example\"]\nstate = {:?}\n",
            state.path()
        );
        let mut settings: Settings = toml::from_str(&text).unwrap();
        settings.certificate = state.path().join("none.pem");
        std::fs::write(
            settings.acme.certificate(),
            "-----BEGIN CERTIFICATE-----\nxx",
        )
        .unwrap();
        let certificates = Certificates::load(&settings).unwrap();
        assert!(certificates.expiry().is_empty());
    }
}
