//! Which certificate is shown to whom: by the name that the client asks for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;

use super::certified_key::LoadedKeyPair;

/// The certificates of one moment. Immutable; a reload makes another.
#[derive(Debug, Default)]
pub(super) struct SniTable {
    /// In the order of the configuration, the default first. None for one that
    /// was not obtained yet.
    slots: Vec<Option<Arc<LoadedKeyPair>>>,
    /// By name; wildcards as `*.name`. In the order of the configuration.
    by_name: HashMap<String, Vec<Arc<LoadedKeyPair>>>,
}

impl SniTable {
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

    pub(super) fn slots(&self) -> &[Option<Arc<LoadedKeyPair>>] {
        &self.slots
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<LoadedKeyPair>> {
        self.slots.iter().flatten()
    }

    /// The certificate for a client that asked for `name`, if for any, and can
    /// verify `schemes`. An exact name goes before a wildcard, and who asked for
    /// nothing that is there is shown the default.
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
        let named = [Some(name), wild].into_iter().flatten();
        named
            .filter_map(|name| self.by_name.get(&name))
            .find_map(|these| these.iter().find(fits).or_else(|| these.first()))
            .or_else(|| self.all().find(fits))
            .or_else(|| self.all().next())
    }

    /// The first of `hosts` that no certificate is for.
    pub(super) fn uncovered<'a>(&self, hosts: &'a [String]) -> Option<&'a String> {
        let covered = |host: &String| self.all().any(|loaded| loaded.info.is_for(host));
        hosts.iter().find(|host| !covered(host))
    }

    /// All names, for people.
    pub(super) fn names(&self) -> String {
        let names = self.all().flat_map(|loaded| &loaded.info.names);
        names.cloned().collect::<Vec<_>>().join(", ")
    }
}
