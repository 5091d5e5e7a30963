//! The reference in `docs/` and `config.toml` says what the code does: every name that
//! users see is written there, and nothing is written there that no longer exists.
//!
//! The tests know no name. They read names out of the code (from serde's errors, a
//! running edge, or the sources as text) and compare them with the tables and
//! lists that follow a marker such as `<!-- reference: log events -->` in the docs.

mod codes;
mod errors;
mod keys;
mod limits;
mod log_events;
mod man_pages;
mod metrics;
mod status;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::support::source::{read, root, rust_files, tokens_without_tests};

/// A table or a list of the docs.
struct Reference {
    /// Where it is, for people.
    place: String,
    rows: Vec<Row>,
}

/// One row of a table, or one paragraph.
struct Row {
    /// The line in the file, from 1.
    line: usize,
    cells: Vec<String>,
}

impl Reference {
    /// Everything in `file` that follows the marker `name`, up to the next blank line.
    fn read(file: &str, name: &str) -> Self {
        let text = read(&root().join(file));
        let marker = format!("<!-- reference: {name} -->");
        let place = format!("{file}, after `{marker}`");
        let mut rows = Vec::new();
        let mut lines = text.lines().enumerate();
        while lines.any(|(_, line)| line.trim() == marker) {
            let blank = |line: &str| line.trim().is_empty();
            let after = lines.by_ref().skip_while(|(_, line)| blank(line));
            let block: Vec<_> = after.take_while(|(_, line)| !blank(line)).collect();
            // The head of a table names its columns.
            let is_table = block.first().is_some_and(|(_, line)| line.starts_with('|'));
            let content = block.iter().skip(if is_table { 2 } else { 0 });
            rows.extend(content.map(|(number, line)| Row {
                line: number + 1,
                cells: cells(line),
            }));
        }
        assert!(!rows.is_empty(), "{place}: expected a table or a list");
        Self { place, rows }
    }

    /// The names in backticks in the column `column`, each with its line.
    fn names(&self, column: usize) -> Vec<(usize, String)> {
        let rows = self.rows.iter();
        let names = rows.flat_map(|row| row.names(column).into_iter().map(|name| (row.line, name)));
        names.collect()
    }

    /// Asserts that the names in `column` are those of the code.
    fn assert_names(&self, column: usize, code: &[Found], what: &str) {
        let written = self.names(column);
        let documented: BTreeSet<_> = written.iter().map(|(_, name)| name).collect();
        let known: BTreeSet<_> = code.iter().map(|found| &found.name).collect();
        let missing = code
            .iter()
            .filter(|found| !documented.contains(&found.name))
            .map(|found| format!("{what} `{}` ({}) is missing", found.name, found.place));
        let gone = written
            .iter()
            .filter(|(_, name)| !known.contains(name))
            .map(|(line, name)| format!("line {line}: there is no {what} `{name}`"));
        self.assert_none(missing.chain(gone));
    }

    /// Asserts that nothing is wrong with it.
    fn assert_none(&self, wrong: impl IntoIterator<Item = String>) {
        let wrong: BTreeSet<_> = wrong.into_iter().collect();
        let wrong: Vec<_> = wrong.into_iter().collect();
        assert!(
            wrong.is_empty(),
            "\n{}:\n- {}\n",
            self.place,
            wrong.join("\n- ")
        );
    }
}

impl Row {
    /// The names in backticks in the column `column`.
    fn names(&self, column: usize) -> Vec<String> {
        self.cells
            .get(column)
            .map(|cell| code_spans(cell))
            .unwrap_or_default()
    }
}

/// A name that the code has, and where.
struct Found {
    name: String,
    place: String,
}

/// The cells of a table's row; another line is one cell. `\|` and a bar between
/// backticks end none.
fn cells(line: &str) -> Vec<String> {
    let Some(row) = line.trim().strip_prefix('|') else {
        return vec![line.to_owned()];
    };
    let mut cells = vec![String::new()];
    let (mut is_code, mut is_escaped) = (false, false);
    for c in row.trim_end_matches('|').chars() {
        is_code ^= c == '`';
        if c == '|' && !is_code && !is_escaped {
            cells.push(String::new());
        } else if let Some(cell) = cells.last_mut() {
            cell.push(c);
        }
        is_escaped = c == '\\';
    }
    cells
}

/// What is written between backticks.
fn code_spans(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(ToOwned::to_owned).collect()
}

/// All pages of `docs/`, each with its path.
fn pages() -> Vec<(String, String)> {
    let files = std::fs::read_dir(root().join("docs")).expect("a readable directory");
    let paths = files.map(|file| file.expect("a readable entry").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let pages = pages.map(|path| {
        let name = path.strip_prefix(root()).expect("it was found there");
        (name.display().to_string(), read(&path))
    });
    pages.collect()
}

/// A source file without its tests.
#[derive(Clone)]
struct Source {
    /// From the project's root.
    path: String,
    tokens: Vec<Token>,
}

#[derive(Clone, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
}

impl Source {
    /// All below `directory`.
    fn all(directory: &str) -> Vec<Self> {
        let path = root().join(directory);
        let files = if path.is_dir() {
            rust_files(&path)
        } else {
            vec![path]
        };
        let files = files.into_iter();
        let sources = files.map(|file| {
            let path = file.strip_prefix(root()).expect("it was found there");
            Self::new(&path.display().to_string(), &read(&file))
        });
        sources
            .filter(|source| {
                !source.path.contains("/tests/") && !source.path.ends_with("/tests.rs")
            })
            .collect()
    }

    fn new(path: &str, text: &str) -> Self {
        let tokens = tokens_without_tests(text)
            .into_iter()
            .map(|(line, text)| Token {
                line,
                text: text.to_owned(),
            })
            .collect();
        Self {
            path: path.to_owned(),
            tokens,
        }
    }

    /// The places of `pattern`: the indices of the tokens behind it.
    fn after(&self, pattern: &[&str]) -> Vec<usize> {
        let places = 0..self.tokens.len();
        let places = places.filter(|at| is_at(&self.tokens, *at, pattern));
        places.map(|at| at + pattern.len()).collect()
    }

    /// The arguments of the call or macro whose bracket is at `at`.
    fn arguments(&self, at: usize) -> Vec<&[Token]> {
        split(group(&self.tokens, at).unwrap_or_default())
    }

    /// The text `value` at `at`, if there is one.
    fn found(&self, at: usize) -> Option<Found> {
        let token = self.tokens.get(at)?;
        Some(Found {
            name: literal(&token.text)?,
            place: format!("{}:{}", self.path, token.line),
        })
    }

    /// The texts in the bodies of all functions `name`.
    fn texts_of(&self, name: &str) -> Vec<Found> {
        let functions = self.after(&["fn", name, "("]).into_iter();
        let texts = functions.flat_map(|at| self.body_after(at).filter_map(|at| self.found(at)));
        texts.collect()
    }

    /// Where the body of the first function `name` is.
    fn body_of(&self, name: &str) -> Range<usize> {
        let function = self.after(&["fn", name, "("]).into_iter().next();
        function.map_or(0..0, |at| self.body_after(at))
    }

    fn body_after(&self, at: usize) -> Range<usize> {
        let rest = &self.tokens[at..];
        let start = rest.iter().position(|token| token.text == "{");
        let start = at + start.expect("a function has a body");
        start..start + group(&self.tokens, start).map_or(0, |inside| inside.len() + 2)
    }
}

fn is_at(tokens: &[Token], at: usize, pattern: &[&str]) -> bool {
    let there = tokens[at..].iter().map(|token| &*token.text);
    there.take(pattern.len()).eq(pattern.iter().copied())
}

/// The arguments between the brackets of a call.
fn split(inside: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    let arguments = inside.split(|token| {
        match &*token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => (),
        }
        depth == 0 && token.text == ","
    });
    arguments.filter(|argument| !argument.is_empty()).collect()
}

/// What is inside the brackets that open at `at`.
fn group(tokens: &[Token], at: usize) -> Option<&[Token]> {
    let mut depth = 0_usize;
    for (number, token) in tokens.get(at..)?.iter().enumerate() {
        match &*token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => (),
        }
        if depth == 0 {
            return tokens.get(at + 1..at + number);
        }
    }
    None
}

/// The text that a string literal stands for.
fn literal(token: &str) -> Option<String> {
    let inside = token.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut rest = inside.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            // The line goes on after the next line's indentation.
            ('\\', Some('\n')) => while rest.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some(_)) => text.extend(rest.next()),
            _ => text.push(c),
        }
    }
    Some(text)
}

#[test]
fn sources_are_read_without_their_tests() {
    let text = r##"
        fn code() -> &'static str { if x { "a" } else { "b\
            c\"" } }
        #[cfg(test)] use super::x;
        #[cfg(test)]
        mod tests { fn code() { "d"; } }
        fn other() { f("e", g(1, "h"), [2, 3]) }
    "##;
    let source = Source::new("x.rs", text);
    let names = |found: Vec<Found>| {
        found
            .into_iter()
            .map(|found| found.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(source.texts_of("code")), ["a", "bc\""]);
    let calls = source.after(&["f", "("]);
    assert_eq!(calls.len(), 1);
    let lengths = source.arguments(calls[0] - 1).into_iter().map(<[_]>::len);
    assert_eq!(lengths.collect::<Vec<_>>(), [1, 6, 5]);
}

#[test]
fn table_rows_are_split_into_cells() {
    let row = |line| {
        cells(line)
            .into_iter()
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(row("| a | `b|c` | d \\| e |"), ["a", "`b|c`", "d \\| e"]);
    assert_eq!(row("a | b"), ["a | b"]);
    assert_eq!(code_spans("`a`, b `c`"), ["a", "c"]);
}
