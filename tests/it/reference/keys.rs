//! Every configuration key is in `config.toml` and named in the docs.

use std::collections::{BTreeMap, BTreeSet};

use pwd_edge::config::Config;

use super::{Reference, code_spans};
use crate::support::source::{read, root};

#[test]
fn key_of_the_settings_has_its_line_in_config_toml() {
    let written = written();
    let missing: Vec<_> = keys()
        .into_iter()
        .filter(|key| !written.has(key))
        .map(|key| key.join("."))
        .collect();
    assert!(
        missing.is_empty(),
        "config.toml has no line (`key = …`, commented out if it has no default) for \
         these keys in their sections: {missing:#?}"
    );
}

#[test]
fn key_in_config_toml_exists_in_the_settings() {
    let known = names();
    let gone: Vec<_> = written()
        .lines
        .into_iter()
        .filter(|(_, key)| !known.contains(key))
        .map(|(line, key)| format!("config.toml:{line}: there is no key {key}"))
        .collect();
    assert!(gone.is_empty(), "{gone:#?}");
}

#[test]
fn key_of_the_settings_has_its_row_in_the_reference() {
    let reference = Reference::read("docs/REFERENCE.md", "keys");
    let written = reference.names(0);
    // A list of tables, or a key with several forms, has one row for all that is in it.
    let has_row = |key: &Vec<String>| {
        let paths = (2..=key.len()).map(|length| key[..length].join("."));
        paths
            .into_iter()
            .any(|path| written.iter().any(|(_, name)| *name == path))
    };
    let missing = keys()
        .into_iter()
        // `[upstreams.NAME]` has the keys of `[upstream]`.
        .filter(|key| key.len() > 1 && key[0] != "upstreams" && !has_row(key))
        .map(|key| format!("key `{}` is missing", key.join(".")));
    let known = names();
    let gone = written
        .iter()
        .filter(|(_, name)| !known.contains(name))
        .map(|(line, name)| format!("line {line}: there is no key `{name}`"));
    reference.assert_none(missing.chain(gone));
}

#[test]
fn keys_are_found_in_all_shapes_of_tables() {
    let keys = keys();
    let has = |key: &str| keys.iter().any(|path| path.join(".") == key);
    // At least one of each shape: a table, a list, a map.
    assert!(keys.iter().any(|path| path.len() == 3), "{keys:?}");
    assert!(has("routes.path"), "{keys:?}");
    assert!(has("upstreams.NAME"), "{keys:?}");
}

/// The names of all keys and tables, with those of the tables they are in.
pub(super) fn names() -> BTreeSet<String> {
    let keys = keys();
    // A table may be written as a value, too.
    let paths = keys
        .iter()
        .flat_map(|key| (1..=key.len()).map(|length| &key[..length]));
    paths.map(|path| path.join(".")).collect()
}

/// The names of the keys that begin a line of `config.toml`, commented out or not.
pub(super) fn lines() -> Vec<String> {
    let lines = written().lines.into_iter();
    lines.map(|(_, key)| key).collect()
}

/// The paths of all keys, as serde knows them. The keys of a table by name
/// (`upstreams.NAME`) are those of another and left out.
fn keys() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut open = vec![Vec::new()];
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        let Some(inside) = fields(&path) else {
            all.push(path);
            continue;
        };
        let is_named = path.last().is_some_and(|part| part == NAME);
        if is_named {
            let fields = format!("{inside:?}");
            assert!(seen.contains(&fields), "{path:?} has keys of its own");
            all.push(path);
            continue;
        }
        seen.insert(format!("{inside:?}"));
        open.splice(
            0..0,
            inside.into_iter().map(|field| [&*path, &[field]].concat()),
        );
    }
    all.sort();
    all
}

/// The keys of the table at `path`, out of the error for one that it cannot have;
/// none if there is no table. For a table of tables by name, that is [`NAME`].
fn fields(path: &[String]) -> Option<Vec<String>> {
    let inside = |text: &str| {
        let text = path.iter().rev().fold(text.to_owned(), |inner, part| {
            format!("{{ {part} = {inner} }}")
        });
        // The outermost table has no braces.
        let text = text
            .strip_prefix("{ ")
            .and_then(|text| text.strip_suffix(" }"));
        let error = toml::from_str::<Config>(text?).err()?;
        let (_, expected) = error
            .message()
            .strip_prefix(&format!("unknown field `{UNKNOWN}`"))?
            .split_once("expected")?;
        Some(code_spans(expected))
    };
    let probe = format!("{{ {UNKNOWN} = 0 }}");
    inside(&probe)
        .or_else(|| inside(&format!("[{probe}]")))
        .or_else(|| {
            inside(&format!("{{ {NAME} = {probe} }}"))?;
            Some(vec![NAME.to_owned()])
        })
}

/// What `config.toml` has.
struct Written {
    /// Each `key = value` at the beginning of a line, commented out or not.
    lines: Vec<(usize, String)>,
    /// The text of each section.
    sections: BTreeMap<String, String>,
}

impl Written {
    /// Whether the key is in its section, or, as one of an inline table, in the
    /// nearest section that there is.
    fn has(&self, key: &[String]) -> bool {
        let name = key.last().expect("no path is empty");
        let own = &key[..key.len() - 1];
        let prefixes = (0..=own.len()).rev().map(|length| key[..length].join("."));
        let mut sections = prefixes.filter_map(|prefix| self.sections.get(&prefix));
        if name == NAME {
            return self.sections.contains_key(&key.join("."));
        }
        sections.next().is_some_and(|text| {
            words(text).any(|(start, word)| {
                word == name && text[start + word.len()..].trim_start().starts_with('=')
            })
        })
    }
}

fn written() -> Written {
    let text = read(&root().join("config.toml"));
    let keys = keys();
    let maps = keys.iter().filter_map(|key| {
        let (name, map) = key.split_last()?;
        (name == NAME).then(|| format!("{}.", map.join(".")))
    });
    let maps: Vec<_> = maps.collect();
    let mut section = String::new();
    let (mut lines, mut sections) = (Vec::new(), BTreeMap::<String, String>::new());
    for (number, line) in text.lines().enumerate() {
        if let Some(header) = header_of(line) {
            let map = maps.iter().find(|map| header.starts_with(*map));
            section = map.map_or_else(|| header.to_owned(), |map| format!("{map}{NAME}"));
        } else if let Some(key) = key_of(line)
            // The keys of a table by name are those of another.
            && !section.ends_with(NAME)
        {
            lines.push((number + 1, format!("{section}.{key}")));
        }
        let text = sections.entry(section.clone()).or_default();
        text.push_str(line);
        text.push('\n');
    }
    Written { lines, sections }
}

/// The table that begins with this line, commented out or not.
fn header_of(line: &str) -> Option<&str> {
    let line = line.trim_start_matches("# ").trim_end();
    let header = line.strip_prefix('[')?.strip_suffix(']')?;
    let header = header.trim_matches(['[', ']']);
    (words(header).next() == Some((0, header))).then_some(header)
}

/// The key that is set at the beginning of this line, commented out or not.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.trim_start_matches("# ").split_once(" = ")?;
    (words(key).next() == Some((0, key))).then_some(key)
}

/// The names in a text, dotted ones as one, each with its place.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let words = text.split(move |c| !is_part(c));
    words
        .map(|word| word.trim_matches('.'))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// A key that no table has.
const UNKNOWN: &str = "no-such-key";
/// Stands for the names in a table of tables by name.
const NAME: &str = "NAME";
