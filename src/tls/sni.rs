//! The SNI table: chooses the certificate for the server name that a client requests.

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
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<LoadedKeyPair>> {
        self.slots.iter().flatten()
    }

    /// Returns the certificate for a client that requests `name` and can verify `schemes`,
    /// or `None` if there is no certificate at all.
    ///
    /// An exact name comes before a wildcard. A client that requests no name, or an unknown
    /// one, gets the default certificate.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<LoadedKeyPair>> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let wild = name
            .split_once('.')
            .map(|(_, parent)| format!("*.{parent}"));
        let fits =
            |loaded: &&Arc<LoadedKeyPair>| loaded.certified.key.choose_scheme(schemes).is_some();
        [Some(name), wild]
            .into_iter()
            .flatten()
            .filter_map(|name| self.by_name.get(&name))
            .find_map(|named| named.iter().find(fits).or_else(|| named.first()))
            .or_else(|| self.all().find(fits))
            .or_else(|| self.all().next())
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
