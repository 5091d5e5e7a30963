//! The reader of TOML that reports all invalid keys at once.
//!
//! serde stops at the first invalid key. The reader then removes that key from the parsed
//! table, so that its default applies, and deserializes the table once more. It renames a
//! key that has an old name instead of removing it, so that serde checks its value too. Of a
//! list it removes the invalid element alone.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::diagnostics::{Diagnostic, Diagnostics};
use super::explain::explain;
use super::key_path::KeyPath;

/// A rule about one or more keys that does not hold.
#[derive(Clone, Debug)]
pub(super) struct RuleViolation {
    /// The keys of the rule, as `section.key` or `list.2.key`; list elements count from 0.
    /// The report shows the first of them that the file contains.
    pub(super) keys: Vec<String>,
    /// The message for the report: what the keys must be, and why.
    pub(super) message: String,
}

/// Maximum number of invalid keys in one report. Each costs one pass over the whole table,
/// so that the limit bounds the time for a file that is wrong throughout.
const MAX_DIAGNOSTICS: usize = 50;

/// Reads `text` as a `T` and checks `rules` on it. Returns the value, and the rules that do not
/// hold if all keys are valid.
///
/// # Errors
/// - The first syntax error alone, if there is one.
/// - Otherwise all invalid keys, if there are any, and the rules that do not hold. `rules` is
///   not called after [`MAX_DIAGNOSTICS`] invalid keys, or after an error that belongs to no
///   key.
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    rules: impl FnOnce(&T) -> Vec<RuleViolation>,
) -> Result<(T, Option<Diagnostics>), Diagnostics> {
    let (table, errors) = DeTable::parse_recoverable(text);
    // The parser resumes after a syntax error and often takes valid lines for further errors.
    // Only the first error in the text is reliable.
    if let Some(first) = errors
        .iter()
        .min_by_key(|error| error.span().map(|span| span.start))
    {
        let (message, _) = explain(first.message(), None, tables_with::<T>);
        let all = vec![Diagnostic::new(text, first.span(), message)];
        return Err(Diagnostics::sorted(all));
    }
    let mut all = Vec::new();
    // `table` keeps all keys and their places; `rest` loses the invalid ones. Each pass
    // removes or renames a key, or returns, so that the loop ends.
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
        let element = path
            .as_ref()
            .and_then(|path| find_element::<T>(&rest, path, &error));
        let place = element.as_ref().map(|element| element.span.clone());
        all.push(Diagnostic::new(
            text,
            place.or_else(|| error.span()),
            message,
        ));
        let is_mended = path.is_some_and(|path| match (new_name, element) {
            (Some(new), _) => path.rename(rest.get_mut(), new),
            (None, Some(element)) => remove_element(rest.get_mut(), &path, element.index),
            (None, None) => path.remove(rest.get_mut()),
        });
        if all.len() >= MAX_DIAGNOSTICS || !is_mended {
            return Err(Diagnostics::sorted(all));
        }
    };
    let has_invalid_keys = !all.is_empty();
    for broken in rules(&value) {
        let mut keys = broken.keys.iter();
        // A key that differs between the tables was removed or renamed, or has lost an
        // element, and is reported already. A rule would judge the default or the shorter
        // list, or repeat the report.
        if keys.all(|key| is_same(locate(&table, key), locate(&rest, key))) {
            let place = broken.keys.iter().find_map(|key| locate(&table, key));
            let span = place.map(Spanned::span);
            all.push(Diagnostic::new(text, span, broken.message));
        }
    }
    let has_mistakes = !all.is_empty();
    let mistakes = has_mistakes.then(|| Diagnostics::sorted(all));
    match mistakes {
        Some(mistakes) if has_invalid_keys => Err(mistakes),
        broken_rules => Ok((value, broken_rules)),
    }
}

/// An element of a list in the file.
struct Element {
    /// The index in the list, from 0.
    index: usize,
    /// The bytes of the element; those of the header for a table such as `[[routes]]`.
    span: Range<usize>,
}

/// Returns the element that causes `error` about the list at `path`, or `None` if the value is
/// no list or the error is about the list as a whole.
///
/// serde gives no place to an error about an element as a whole, such as two keys of a route
/// that exclude each other. The parser then gives it the place of the whole list.
fn find_element<T: DeserializeOwned>(
    table: &Spanned<DeTable<'_>>,
    path: &KeyPath,
    error: &Error,
) -> Option<Element> {
    let elements = path.list(&mut table.get_ref().clone())?.clone();
    let fails_with_first = |count: usize| {
        let mut table = table.clone();
        if let Some(list) = path.list(table.get_mut()) {
            *list = elements.iter().take(count).cloned().collect();
        }
        T::deserialize(Deserializer::from(table)).is_err_and(|other| other == *error)
    };
    if fails_with_first(0) {
        return None;
    }
    // serde reads the elements in order and stops at the invalid one: shorter lists do not
    // fail with this error, longer ones do. So the search halves the list.
    let (mut valid, mut invalid) = (0, elements.len());
    while invalid - valid > 1 {
        let middle = valid.midpoint(invalid);
        if fails_with_first(middle) {
            invalid = middle;
        } else {
            valid = middle;
        }
    }
    let element = elements.get(valid)?;
    Some(Element {
        index: valid,
        span: element.span(),
    })
}

/// Removes the element at `index` from the list at `path` of `table`, the top of the file.
/// Returns whether it was there.
///
/// The last element goes with its key: an empty list may be invalid, or need other keys.
fn remove_element(table: &mut DeTable<'_>, path: &KeyPath, index: usize) -> bool {
    let Some(list) = path.list(table).filter(|list| index < list.len()) else {
        return false;
    };
    let elements = list.iter().enumerate();
    let others = elements.filter(|(number, _)| *number != index);
    let others: DeArray<'_> = others.map(|(_, element)| element.clone()).collect();
    if others.is_empty() {
        return path.remove(table);
    }
    *list = others;
    true
}

/// Returns the tables of [`TABLES`] that have the key `name` in a `T`.
///
/// Returns none if `name` is not a bare key in TOML, because it becomes part of a text.
fn tables_with<T: DeserializeOwned>(name: &str) -> Vec<&'static str> {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_bare) {
        return Vec::new();
    }
    let unknown = format!("unknown field `{name}`");
    // Reads a table with this key alone. Without the key in `T`, serde reports an unknown
    // field. With it, serde accepts the value or reports another error about it.
    let has_key = |table: &&str| {
        let value = toml::from_str::<T>(&format!("{table}\n{name} = [[]]\n"));
        value.map_or_else(|error| !error.message().starts_with(&unknown), |_| true)
    };
    TABLES.iter().copied().filter(has_key).collect()
}

/// Headers of the tables that have keys of their own, in the order of `config.toml`.
/// `[upstreams.NAME]` is missing, because it has the keys of `[upstream]`.
pub(super) const TABLES: [&str; 20] = [
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
    "[pusher]",
    "[auth]",
    "[rooms]",
    "[history]",
    "[broadcast]",
];

/// Returns the value of `section.key` or `list.2.key`, or `None` if the table does not contain
/// the key. List elements count from 0.
fn locate<'t, 'i>(table: &'t Spanned<DeTable<'i>>, key: &str) -> Option<&'t Spanned<DeValue<'i>>> {
    let mut parts = key.split('.');
    let mut found = table.get_ref().get(parts.next()?)?;
    for part in parts {
        found = match found.get_ref() {
            DeValue::Table(table) => table.get(part)?,
            DeValue::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// Returns whether both values have the same place in the file and, as lists, the same length.
fn is_same(a: Option<&Spanned<DeValue<'_>>>, b: Option<&Spanned<DeValue<'_>>>) -> bool {
    let place = |value: &Spanned<DeValue<'_>>| {
        let length = value.get_ref().as_array().map(|list| list.len());
        (value.span(), length)
    };
    a.map(place) == b.map(place)
}
