//! The SNI table: chooses the certificate for the server name that a client requests.
//!
//! A client that connects to an IP address requests no name (RFC 6066 §3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;

use super::certified_key::LoadedKeyPair;

/// The certificates in use. Immutable: a reload creates another table.
#[derive(Debug, Default)]
pub(super) struct SniTable {
    /// The certificates in the order of the configuration, the default one first. `None` for
    /// one that ACME has not obtained yet.
    slots: Vec<Option<Arc<LoadedKeyPair>>>,
    /// The certificates of each name in lower case, in the order of the configuration;
    /// wildcards as `*.name`.
    by_name: HashMap<String, Vec<Arc<LoadedKeyPair>>>,
}

impl SniTable {
    /// Creates the table from the certificates in the order of the configuration.
    pub(super) fn new(slots: Vec<Option<Arc<LoadedKeyPair>>>) -> Self {
        let mut by_name: HashMap<String, Vec<_>> = HashMap::new();
        for loaded in slots.iter().flatten() {
            for name in &loaded.info.names {
                by_name
                    .entry(name.clone())
                    .or_default()
                    .push(Arc::clone(loaded));
            }
        }
        Self { slots, by_name }
    }

    /// Returns all certificates, also the missing ones.
    pub(super) fn slots(&self) -> &[Option<Arc<LoadedKeyPair>>] {
        &self.slots
    }

    /// Returns all certificates that are present.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<LoadedKeyPair>> + Clone {
        self.slots.iter().flatten()
    }

    /// Returns the certificate for a client that requests `name` and can verify `schemes`,
    /// or `None` if there is no certificate at all.
    ///
    /// An exact name comes before a wildcard. A client that requests no name gets a certificate
    /// for an IP address if there is one. The others get the default certificate.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<LoadedKeyPair>> {
        let fits =
            |loaded: &&Arc<LoadedKeyPair>| loaded.certified.key.choose_scheme(schemes).is_some();
        let named = match name.map(str::to_ascii_lowercase) {
            Some(name) => self.named(&name).find_map(|named| {
                let first = named.first();
                named.iter().find(fits).or(first)
            }),
            None => {
                let mut with_address = self.all().filter(|loaded| loaded.info.has_address());
                let first = with_address.clone().next();
                with_address.find(fits).or(first)
            }
        };
        named
            .or_else(|| self.all().find(fits))
            .or_else(|| self.all().next())
    }

    /// Returns the certificates with exactly `name`, and then those with its wildcard.
    fn named(&self, name: &str) -> impl Iterator<Item = &Vec<Arc<LoadedKeyPair>>> {
        let wild = name
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        let exact = self.by_name.get(name);
        exact
            .into_iter()
            .chain(wild.and_then(|wild| self.by_name.get(&wild)))
    }

    /// Returns the first of `hosts` that has no certificate.
    pub(super) fn uncovered<'a>(&self, hosts: &'a [String]) -> Option<&'a String> {
        let covered = |host: &String| self.all().any(|loaded| loaded.info.is_for(host));
        hosts.iter().find(|host| !covered(host))
    }

    /// Returns all names as text for error messages.
    pub(super) fn names(&self) -> String {
        self.all()
            .flat_map(|loaded| &loaded.info.names)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    }
}
