//! The certificates of the process: read when it starts, read again when they
//! change, looked up in every handshake.
//!
//! A reload replaces the table inside of the one resolver, so nothing else
//! notices: open connections keep what they have, tickets stay valid.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::Error;
use super::pair::Pair;
use super::table::Table;
use super::{Settings, provider};

/// All certificates, by name. Made once.
#[derive(Debug)]
pub struct Certificates {
    pairs: Vec<Pair>,
    table: ArcSwap<Table>,
}

impl Certificates {
    /// Reads what `settings` names.
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
            table: ArcSwap::from_pointee(table),
        })
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
