//! Messages for the errors of serde and of the TOML parser.

use super::key_path::KeyPath;
use super::renamed::{new_name, new_names};

/// Returns the message for `error` about the key at `path`, and the new name of the key if
/// it was renamed.
///
/// `tables_with` returns the tables that have a key of the given name. It is called only for
/// an unknown key that was not renamed.
pub(super) fn explain(
    error: &str,
    path: Option<&KeyPath>,
    tables_with: impl FnOnce(&str) -> Vec<&'static str>,
) -> (String, Option<&'static str>) {
    let Some(names) = error.strip_prefix("unknown field `") else {
        let message = error.lines().collect::<Vec<_>>().join("; ");
        let words = RUST_WORDS.iter();
        let plain = words.fold(message, |text, (word, plain)| text.replace(word, plain));
        return (plain, None);
    };
    // serde writes "x`, expected one of `a`, `b`": each second part is a name.
    let mut names = names.split('`').step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    let new = path.and_then(|path| Some((path, new_name(&path.section(), path.name())?)));
    if let Some((path, new)) = new {
        let message = format!("`{path}` is called `{}` now", path.beside(new));
        return (message, Some(new));
    }
    let tables = tables_with(unknown);
    let message = if !tables.is_empty() {
        format!("`{unknown}` belongs to {}, not here", tables.join(" or "))
    } else if let Some(elsewhere) = renamed_elsewhere(unknown, &known) {
        format!("unknown key `{unknown}`; did you mean {elsewhere}?")
    } else if let Some(name) = nearest(unknown, &known) {
        format!("unknown key `{unknown}`; did you mean `{name}`?")
    } else {
        format!(
            "unknown key `{unknown}`; expected one of {}",
            known.join(", ")
        )
    };
    (message, None)
}

/// Returns the new names and tables of the key `old`, which belongs to other tables, as a part
/// of a sentence. Returns `None` if there are none.
///
/// A single word such as `timeout` is no sign of another table, and a new name that is `known`
/// here is the likely one.
fn renamed_elsewhere(old: &str, known: &[&str]) -> Option<String> {
    let names = new_names(old);
    if !old.contains('_') || names.iter().any(|(_, new)| known.contains(new)) {
        return None;
    }
    let names = names.iter().map(|(table, new)| match *table {
        "routes" => format!("`{new}` of [[routes]]"),
        table => format!("`{new}` of [{table}]"),
    });
    let names = names.collect::<Vec<_>>().join(" or ");
    (!names.is_empty()).then_some(names)
}

/// Returns the name in `known` that is most similar to `unknown`, or `None` if each
/// differs from it in more characters than half of the longer name.
fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), *name));
    let near = distances.filter(|(distance, name)| *distance <= name.len().max(unknown.len()) / 2);
    near.min().map(|(_, name)| name)
}

/// Phrases of serde and Rust, and their replacements in messages.
///
/// They apply in this order: a phrase must come before the shorter ones that it contains.
const RUST_WORDS: [(&str, &str); 6] = [
    (
        "invalid socket address syntax",
        "expected an address and port such as \"[::]:443\"",
    ),
    (
        "expected a boolean",
        "expected true or false, without quotes",
    ),
    (
        "wanted string or table",
        "expected a value in quotes, such as min_version = \"1.2\"",
    ),
    ("u32", "a whole number from 0 to 4294967295"),
    ("socket address", "an address and port such as \"[::]:443\""),
    ("expected a sequence", "expected a list in [ ]"),
];
