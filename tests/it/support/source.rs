//! The project's own files, read as text.

use std::fs;
use std::path::{Path, PathBuf};

/// The words, texts and signs of a source with their lines; no comments.
pub(crate) fn tokens(source: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (is_token, length) = match first {
            _ if rest.starts_with("//") => (false, rest.find('\n')),
            _ if rest.starts_with("/*") => (false, rest.find("*/").map(|at| at + 2)),
            _ if first.is_whitespace() => (false, Some(first.len_utf8())),
            _ if raw_text(rest).is_some() => (true, raw_text(rest)),
            '"' => (true, text(rest)),
            '\'' => (false, character(rest).or(Some(1))),
            _ if word != Some(0) => (true, word),
            _ if rest.starts_with("::") => (true, Some(2)),
            _ => (true, Some(first.len_utf8())),
        };
        let (token, after) = rest.split_at(length.unwrap_or(rest.len()));
        if is_token {
            tokens.push((line, token));
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The tokens of `source` without the items that only tests have.
pub(crate) fn tokens_without_tests(source: &str) -> Vec<(usize, &str)> {
    let all = tokens(source);
    let words: Vec<_> = all.iter().map(|(_, word)| *word).collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        if words[at..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"]) {
            at += item_len(&words[at..]);
        } else {
            kept.push(all[at]);
            at += 1;
        }
    }
    kept
}

/// The number of tokens up to the `;` or `}` that ends the item at the start.
fn item_len(words: &[&str]) -> usize {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => (),
        }
        if depth == 0 && [";", "}"].contains(word) {
            return at + 1;
        }
    }
    words.len()
}

/// The length of the text in quotes at the start.
fn text(source: &str) -> Option<usize> {
    let mut escaped = false;
    let end = source[1..].find(|c| {
        let is_end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    });
    end.map(|at| at + 2)
}

/// The length of the raw text at the start, if there is one.
fn raw_text(source: &str) -> Option<usize> {
    let prefixes = ["r", "br", "cr"].iter();
    let body = prefixes
        .filter_map(|prefix| source.strip_prefix(prefix))
        .next()?;
    let inner = body.trim_start_matches('#');
    let end = format!("\"{}", &body[..body.len() - inner.len()]);
    let start = source.len() - inner.len() + 1;
    let at = inner.strip_prefix('"')?.find(&end)?;
    Some(start + at + end.len())
}

/// The length of the character in quotes at the start, if it is no lifetime.
fn character(source: &str) -> Option<usize> {
    let mut inner = source[1..].char_indices();
    match inner.next()? {
        (_, '\\') => source.get(3..)?.find('\'').map(|at| at + 4),
        _ => inner
            .next()
            .filter(|(_, c)| *c == '\'')
            .map(|(at, _)| at + 2),
    }
}

pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a readable source")
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
