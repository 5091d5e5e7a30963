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
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::Error;
use super::outlook::Outlook;
use super::pair::{Loaded, Pair};
use super::table::Table;
use super::{Settings, provider};

/// All certificates, by name. Made once.
#[derive(Debug)]
pub struct Certificates {
    pairs: Vec<Pair>,
    hosts: Vec<String>,
    provider: Arc<CryptoProvider>,
    table: ArcSwap<Table>,
    /// What was last complained of: it is told once, not at every look. Locked
    /// while files are read again, so that two reloads cannot cross.
    complaint: Mutex<String>,
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
        let all = pairs.iter().map(|pair| {
            let loaded = pair.load(&provider)?;
            Ok(Arc::new(loaded))
        });
        let table = Table::new(all.collect::<Result<_, Error>>()?);
        covers(&table, &settings.hosts)?;
        Ok(Self {
            pairs,
            hosts: settings.hosts.clone(),
            provider,
            table: ArcSwap::from_pointee(table),
            complaint: Mutex::default(),
        })
    }

    /// Reads all files again; does I/O. A pair that is bad now stays as it was,
    /// which is told once, until something else is wrong.
    pub fn reload(&self) {
        let mut complaint = self.complaint.lock();
        let old = self.table.load_full();
        let mut wrong = Vec::new();
        let all = self.pairs.iter().zip(old.all()).map(|(pair, old)| {
            let renewed = self.renewed(pair, old).unwrap_or_else(|error| {
                wrong.push(error.to_string());
                None
            });
            renewed.unwrap_or_else(|| Arc::clone(old))
        });
        let table = Table::new(all.collect());
        match covers(&table, &self.hosts) {
            Ok(()) => self.replace(&old, table),
            Err(error) => wrong.push(error.to_string()),
        }
        complain(&mut complaint, &wrong.join("; "));
    }

    /// What `pair` holds now; none if that is what it held before.
    fn renewed(&self, pair: &Pair, old: &Loaded) -> Result<Option<Arc<Loaded>>, Error> {
        let new = pair.load(&self.provider)?;
        if new.certified.cert == old.certified.cert {
            return Ok(None);
        }
        let dates = new.facts.check_dates(SystemTime::now());
        dates.map_err(|flaw| pair.flawed(flaw))?;
        for doubt in pair.doubts(&new) {
            tracing::warn!("{doubt}");
        }
        Ok(Some(Arc::new(new)))
    }

    fn replace(&self, old: &Table, new: Table) {
        let pairs = old.all().iter().zip(new.all());
        let changed: Vec<_> = pairs
            .filter(|(old, new)| !Arc::ptr_eq(old, new))
            .map(|(_, new)| Outlook::of(new, SystemTime::now()))
            .collect();
        if changed.is_empty() {
            return;
        }
        self.table.store(Arc::new(new));
        for certificate in changed {
            tracing::info!(%certificate, "new certificate");
        }
    }

    /// Finds a certificate that cannot be used today.
    ///
    /// # Errors
    /// One is expired, or not valid yet.
    pub fn check_dates(&self) -> Result<(), Error> {
        let table = self.table.load();
        for (pair, loaded) in self.pairs.iter().zip(table.all()) {
            let dates = loaded.facts.check_dates(SystemTime::now());
            dates.map_err(|flaw| pair.flawed(flaw))?;
        }
        Ok(())
    }

    /// What is not wrong, but seldom meant; a sentence each.
    pub fn doubts(&self) -> Vec<String> {
        let table = self.table.load();
        let pairs = self.pairs.iter().zip(table.all());
        pairs
            .flat_map(|(pair, loaded)| pair.doubts(loaded))
            .collect()
    }

    /// Each certificate, and how long it still lasts.
    pub fn outlook(&self) -> Vec<Outlook> {
        let (table, now) = (self.table.load(), SystemTime::now());
        let all = table.all().iter();
        all.map(|loaded| Outlook::of(loaded, now)).collect()
    }

    /// The files that everything comes from.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let paths = self.pairs.iter().flat_map(Pair::paths);
        paths.map(ToOwned::to_owned).collect()
    }
}

/// Tells `wrong` if it is new, and that nothing is wrong any more.
fn complain(last: &mut String, wrong: &str) {
    if *last == wrong {
        return;
    }
    match wrong.is_empty() {
        true => tracing::info!("the certificate files are well again"),
        false => tracing::error!(
            cause = wrong,
            "new certificate files are of no use; the certificates from before stay in use"
        ),
    }
    wrong.clone_into(last);
}

fn covers(table: &Table, hosts: &[String]) -> Result<(), Error> {
    match table.uncovered(hosts) {
        None => Ok(()),
        Some(host) => Err(Error::Uncovered {
            host: host.clone(),
            names: table.names(),
        }),
    }
}

fn pairs(settings: &Settings) -> Vec<Pair> {
    let mut pairs = vec![Pair::new(&settings.certificate, &settings.key, "tls.")];
    pairs.extend(settings.certificates.iter().enumerate().map(|(at, pair)| {
        let prefix = format!("[[tls.certificates]] no. {}, ", at + 1);
        Pair::new(&pair.certificate, &pair.key, &prefix)
    }));
    pairs
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let chosen = table.choose(hello.server_name(), hello.signature_schemes())?;
        Some(Arc::clone(&chosen.certified))
    }
}
