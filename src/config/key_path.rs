//! The path from the top of the parsed file to a key.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A path to a key: table names and list indices from 0, then the name of the key.
///
/// It displays without the indices, as `routes.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<String>);

impl KeyPath {
    /// Returns the path of the innermost key whose name or value contains `span`, a range of
    /// bytes in the text.
    pub(super) fn find(table: &DeTable<'_>, span: &Range<usize>) -> Option<Self> {
        let mut found = None;
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let inside = match value.get_ref() {
                DeValue::Table(inner) => Self::find(inner, span),
                DeValue::Array(list) => list.iter().enumerate().find_map(|(number, element)| {
                    let path = Self::find(element.get_ref().as_table()?, span)?;
                    Some(path.below(number.to_string()))
                }),
                _ => None,
            };
            if let Some(path) = inside {
                return Some(path.below(name));
            }
            if contains(&key.span(), span) || contains(&value.span(), span) {
                found = Some(Self(vec![name]));
            }
        }
        found
    }

    /// Puts `part` in front of the path.
    fn below(mut self, part: String) -> Self {
        self.0.insert(0, part);
        self
    }

    /// Returns the table of the key, such as `tls.acme`. It is `upstream` for a key of
    /// `upstreams.NAME`, because both have the same keys.
    pub(super) fn section(&self) -> String {
        let mut names = self.names();
        names.pop();
        if names.len() > 1 && names[0] == "upstreams" {
            names.splice(..2, ["upstream"]);
        }
        names.join(".")
    }

    /// Returns the name of the key without its table.
    pub(super) fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// Returns the path of the key `name` in the same table.
    pub(super) fn beside(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.pop();
        parts.push(name.to_owned());
        Self(parts)
    }

    /// Returns the names of the path without the list indices.
    fn names(&self) -> Vec<&str> {
        let is_name = |part: &&str| part.parse::<usize>().is_err();
        let parts = self.0.iter().map(String::as_str);
        parts.filter(is_name).collect()
    }

    /// Removes the key and its value from `table`, the top of the file. Returns whether the
    /// key was there.
    pub(super) fn remove(&self, table: &mut DeTable<'_>) -> bool {
        let table = holder(table, &self.0);
        table.is_some_and(|table| table.remove(self.name()).is_some())
    }

    /// Returns the list that is the value of the key in `table`, the top of the file, or `None`
    /// if the value is no list.
    pub(super) fn list<'t, 'i>(&self, table: &'t mut DeTable<'i>) -> Option<&'t mut DeArray<'i>> {
        match holder(table, &self.0)?.get_mut(self.name())?.get_mut() {
            DeValue::Array(list) => Some(list),
            _ => None,
        }
    }

    /// Renames the key to `new` in `table`, the top of the file. Returns whether the key was
    /// there.
    ///
    /// If the key `new` exists already, its value stays and the old key is only removed.
    pub(super) fn rename(&self, table: &mut DeTable<'_>, new: &'static str) -> bool {
        let Some(table) = holder(table, &self.0) else {
            return false;
        };
        let Some((key, value)) = table.remove_entry(self.name()) else {
            return false;
        };
        if !table.contains_key(new) {
            table.insert(Spanned::new(key.span(), new.into()), value);
        }
        true
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join("."))
    }
}

/// Returns whether `inner` lies within `outer`.
fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Returns the table below `table` that holds the last part of `path`, or `None` if a part
/// before it is missing. The last part itself need not exist.
fn holder<'t, 'i>(table: &'t mut DeTable<'i>, path: &[String]) -> Option<&'t mut DeTable<'i>> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return Some(table);
    }
    match table.get_mut(first.as_str())?.get_mut() {
        DeValue::Table(inner) => holder(inner, rest),
        DeValue::Array(list) => {
            let (number, rest) = rest.split_first()?;
            match list.get_mut(number.parse::<usize>().ok()?)?.get_mut() {
                DeValue::Table(inner) => holder(inner, rest),
                _ => None,
            }
        }
        _ => None,
    }
}
