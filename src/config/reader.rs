//! Reading a TOML text so that every mistake in it is found in one go.
//!
//! serde stops at the first one. So the key that it stopped at is taken out of
//! the parsed table, which leaves its default, and the rest is read again. A key with
//! an old name gets its new one instead, so that its value is checked too.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::diagnostics::{Diagnostic, Diagnostics};
use super::explain::explain;
use super::key_path::KeyPath;

/// A rule across several keys that does not hold.
#[derive(Clone, Debug)]
pub(super) struct RuleViolation {
    /// The keys that it is about, as `section.key` or `list.2.key`, from 0.
    pub(super) keys: Vec<String>,
    /// The rule.
    pub(super) message: String,
}

/// Nobody mends more in one go, and each costs one round of reading.
const MAX_DIAGNOSTICS: usize = 50;

/// Reads `text` as a `T` and checks `rules` on it.
///
/// # Errors
/// All mistakes in the text, up to [`MAX_DIAGNOSTICS`].
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    rules: impl FnOnce(&T) -> Vec<RuleViolation>,
) -> Result<T, Diagnostics> {
    let (table, errors) = DeTable::parse_recoverable(text);
    // The parser goes on after a syntax error, and takes what follows for more of them.
    if let Some(first) = errors
        .iter()
        .min_by_key(|error| error.span().map(|span| span.start))
    {
        let (message, _) = explain(first.message(), None, tables_with::<T>);
        let all = vec![Diagnostic::new(text, first.span(), message)];
        return Err(Diagnostics::sorted(all));
    }
    let mut all = Vec::new();
    let mut rest = table.clone();
    let value = loop {
        let error = match T::deserialize(Deserializer::from(rest.clone())) {
            Ok(value) => break value,
            Err(error) => error,
        };
        let path = error
            .span()
            .and_then(|span| KeyPath::find(rest.get_ref(), &span));
        let (message, new_name) = explain(error.message(), path.as_ref(), tables_with::<T>);
        all.push(Diagnostic::new(text, error.span(), message));
        let is_mended = path.is_some_and(|path| match new_name {
            Some(new) => path.rename(rest.get_mut(), new),
            None => path.remove(rest.get_mut()),
        });
        if all.len() >= MAX_DIAGNOSTICS || !is_mended {
            return Err(Diagnostics::sorted(all));
        }
    };
    let written = |table: &Spanned<DeTable<'_>>, key: &String| locate(table.get_ref(), key);
    for broken in rules(&value) {
        let mut keys = broken.keys.iter();
        // About a key whose own mistake was told, a rule has nothing to say.
        if keys.all(|key| written(&table, key) == written(&rest, key)) {
            let place = broken.keys.iter().find_map(|key| written(&table, key));
            all.push(Diagnostic::new(text, place, broken.message));
        }
    }
    if all.is_empty() {
        Ok(value)
    } else {
        Err(Diagnostics::sorted(all))
    }
}

/// Returns the tables of a `T` that have the key `name`.
fn tables_with<T: DeserializeOwned>(name: &str) -> Vec<&'static str> {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_bare) {
        return Vec::new();
    }
    let unknown = format!("unknown field `{name}`");
    // A table that has the key objects to its value, or to nothing.
    let has_key = |table: &&str| {
        let value = toml::from_str::<T>(&format!("{table}\n{name} = [[]]\n"));
        value.map_or_else(|error| !error.message().starts_with(&unknown), |_| true)
    };
    TABLES.iter().copied().filter(has_key).collect()
}

/// The tables of the configuration that have keys of their own, in the order of the file.
pub(super) const TABLES: [&str; 18] = [
    "[server]",
    "[admin]",
    "[log]",
    "[tls]",
    "[[tls.certificates]]",
    "[tls.acme]",
    "[tls.client_auth]",
    "[upstream]",
    "[http]",
    "[maintenance]",
    "[compression]",
    "[[routes]]",
    "[limits]",
    "[websocket]",
    "[websocket.uploads]",
    "[auth]",
    "[rooms]",
    "[broadcast]",
];

/// Where the value of `section.key` or `list.2.key` is written, if it is.
fn locate(table: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let mut parts = key.split('.');
    let mut found = table.get(parts.next()?)?;
    for part in parts {
        found = match found.get_ref() {
            DeValue::Table(table) => table.get(part)?,
            DeValue::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(found.span())
}
