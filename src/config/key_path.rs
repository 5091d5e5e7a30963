//! Where a key is in the parsed file.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The names of tables and the numbers of list elements that lead to a key, and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<String>);

impl KeyPath {
    /// The innermost key at `span`, itself or its value.
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

    fn below(mut self, part: String) -> Self {
        self.0.insert(0, part);
        self
    }

    /// The table that the key is in, by its settings: `upstream` for `upstreams.vite`.
    pub(super) fn section(&self) -> String {
        let mut names = self.names();
        names.pop();
        if names.len() > 1 && names[0] == "upstreams" {
            names.splice(..2, ["upstream"]);
        }
        names.join(".")
    }

    /// The key's own name.
    pub(super) fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// The key called `name` in the same table.
    pub(super) fn beside(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.pop();
        parts.push(name.to_owned());
        Self(parts)
    }

    /// The names in it, without the numbers of list elements.
    fn names(&self) -> Vec<&str> {
        let is_name = |part: &&str| part.parse::<usize>().is_err();
        let parts = self.0.iter().map(String::as_str);
        parts.filter(is_name).collect()
    }

    /// Takes the key out of `table`; false if it is not there.
    pub(super) fn remove(&self, table: &mut DeTable<'_>) -> bool {
        let table = holder(table, &self.0);
        table.is_some_and(|table| table.remove(self.name()).is_some())
    }

    /// Calls the key `new` in `table`, unless there is one of that name; false if it is
    /// not there.
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

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The table in `table` that has the last part of `path`.
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
