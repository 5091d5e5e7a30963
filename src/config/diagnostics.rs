//! Reading a TOML text so that every mistake in it is found in one go.
//!
//! serde stops at the first one. So the key that it stopped at is taken out of
//! the parsed table, which leaves its default, and the rest is read again.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

/// One mistake in the file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong and what was expected.
    pub message: String,
    /// The line, from 1; none if the key is not in the file.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: usize,
    /// The text of the line.
    source: String,
    /// How many characters are wrong.
    width: usize,
}

/// All mistakes of a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    all: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The mistakes.
    pub fn all(&self) -> &[Diagnostic] {
        &self.all
    }

    /// Names the file they are in.
    pub(super) fn in_file(self, file: &str) -> Self {
        Self {
            file: file.to_owned(),
            ..self
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, diagnostic) in self.all.iter().enumerate() {
            if number > 0 {
                f.write_str("\n\n")?;
            }
            let Some(line) = diagnostic.line else {
                write!(f, "{}: {}", self.file, diagnostic.message)?;
                continue;
            };
            let margin = " ".repeat(line.to_string().len());
            let before = " ".repeat(diagnostic.column - 1);
            let carets = "^".repeat(diagnostic.width);
            writeln!(
                f,
                "{}:{line}:{}: {}",
                self.file, diagnostic.column, diagnostic.message
            )?;
            writeln!(f, " {margin} |")?;
            writeln!(f, " {line} | {}", diagnostic.source)?;
            write!(f, " {margin} | {before}{carets}")?;
        }
        Ok(())
    }
}

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
pub(super) fn read<T: DeserializeOwned>(
    text: &str,
    rules: impl FnOnce(&T) -> Vec<RuleViolation>,
) -> Result<T, Diagnostics> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut all: Vec<_> = errors.iter().map(|error| diagnostic(text, error)).collect();
    if !all.is_empty() {
        return Err(sorted(all));
    }
    let mut rest = table.clone();
    let value = loop {
        match T::deserialize(Deserializer::from(rest.clone())) {
            Ok(value) => break value,
            Err(error) => {
                all.push(diagnostic(text, &error));
                let span = error.span();
                if all.len() >= MAX_DIAGNOSTICS
                    || !span.is_some_and(|span| remove(rest.get_mut(), &span))
                {
                    return Err(sorted(all));
                }
            }
        }
    };
    let written = |table: &Spanned<DeTable<'_>>, key: &String| locate(table.get_ref(), key);
    for broken in rules(&value) {
        let mut keys = broken.keys.iter();
        // About a key whose own mistake was told, a rule has nothing to say.
        if keys.all(|key| written(&table, key) == written(&rest, key)) {
            let place = broken.keys.iter().find_map(|key| written(&table, key));
            all.push(at(text, place, broken.message));
        }
    }
    if all.is_empty() {
        Ok(value)
    } else {
        Err(sorted(all))
    }
}

fn sorted(mut all: Vec<Diagnostic>) -> Diagnostics {
    all.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    Diagnostics {
        file: "config.toml".to_owned(),
        all,
    }
}

/// Takes the innermost key at `span` out of `table`; false if there is none.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let mut found = None;
    for (key, value) in table.iter_mut() {
        let inside = match value.get_mut() {
            DeValue::Table(inner) => remove(inner, span),
            DeValue::Array(list) => list.iter_mut().any(|one| match one.get_mut() {
                DeValue::Table(inner) => remove(inner, span),
                _ => false,
            }),
            _ => false,
        };
        if inside {
            return true;
        }
        if contains(&key.span(), span) || contains(&value.span(), span) {
            found = Some(key.get_ref().clone());
        }
    }
    found.is_some_and(|key| table.remove(&*key).is_some())
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

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

fn diagnostic(text: &str, error: &toml::de::Error) -> Diagnostic {
    at(text, error.span(), explain(error.message()))
}

fn at(text: &str, span: Option<Range<usize>>, message: String) -> Diagnostic {
    let Some(span) = span else {
        return Diagnostic {
            message,
            line: None,
            column: 1,
            source: String::new(),
            width: 0,
        };
    };
    let start = span.start.min(text.len());
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let source = text[line_start..].lines().next().unwrap_or_default();
    let column = text[line_start..start].chars().count() + 1;
    let on_line = source.chars().count().saturating_sub(column - 1);
    let wrong = text
        .get(start..span.end)
        .unwrap_or_default()
        .chars()
        .count();
    Diagnostic {
        message,
        line: Some(before.matches('\n').count() + 1),
        column,
        source: source.replace('\t', " "),
        width: wrong.min(on_line).max(1),
    }
}

/// Says an unknown key with the nearest known one; anything else as it is.
fn explain(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else {
        let message = message.lines().collect::<Vec<_>>().join("; ");
        return RUST_WORDS
            .iter()
            .fold(message, |text, (word, plain)| text.replace(word, plain));
    };
    let mut names = rest.split('`').step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), *name))
        .filter(|(distance, name)| *distance <= name.len().max(unknown.len()) / 2)
        .min();
    match near {
        Some((_, name)) => format!("unknown key \"{unknown}\"; did you mean \"{name}\"?"),
        None => format!(
            "unknown key \"{unknown}\"; expected one of {}",
            known.join(", ")
        ),
    }
}

/// Types as serde names them, and as people do.
const RUST_WORDS: [(&str, &str); 8] = [
    (
        "invalid socket address syntax",
        "expected an address and port such as \"[::]:443\"",
    ),
    ("expected u64", "expected a whole number"),
    ("a nonzero usize", "a whole number above 0"),
    ("a nonzero u32", "a whole number above 0"),
    ("usize", "a whole number"),
    ("u32", "a whole number"),
    ("socket address", "an address and port such as \"[::]:443\""),
    ("expected a sequence", "expected a list in [ ]"),
];
