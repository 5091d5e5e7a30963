//! `config.toml` as a man page: its comments describe its keys.

use super::roff::{bold, escape, prose};

/// One table of the file.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// The header, such as `[server]`; empty before the first.
    pub(crate) header: String,
    pub(crate) entries: Vec<Entry>,
}

/// A comment and the keys below it, if there are any.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) comment: Vec<String>,
    /// Each key with its value.
    pub(crate) settings: Vec<(String, String)>,
}

/// Splits the file into its sections. Blank lines, and those with `#` alone, end an
/// entry; a comment directly above a header belongs to that section.
pub(crate) fn parse(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut entry = Entry::default();
    for line in text.lines().chain([""]) {
        let section = sections.last_mut().expect("it begins with one");
        if ["", "#"].contains(&line) {
            let entry = std::mem::take(&mut entry);
            if !entry.comment.is_empty() || !entry.settings.is_empty() {
                section.entries.push(entry);
            }
        } else if let Some(header) = header(line) {
            sections.push(Section {
                header: header.to_owned(),
                entries: Vec::new(),
            });
        } else if let Some((key, value)) = setting(line) {
            entry.settings.push((key.to_owned(), value.to_owned()));
        } else {
            let comment = line.trim_start_matches('#');
            let comment = comment.strip_prefix(' ').unwrap_or(comment);
            entry.comment.push(comment.to_owned());
        }
    }
    sections
}

/// The header of a table on this line, commented out or not.
fn header(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let name = name.trim_matches(['[', ']']);
    let is_name = |c: char| c.is_ascii_lowercase() || c == '.' || c == '_';
    name.chars().all(is_name).then_some(line)
}

/// The key that this line sets, commented out or not, and its value.
fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("# ").unwrap_or(line);
    let (key, value) = line.split_once(" = ")?;
    let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    key.chars().all(is_key).then_some((key, value))
}

/// Writes each section below a heading, and each key with its value above its comment.
pub(crate) fn render(sections: &[Section]) -> String {
    let mut page = String::new();
    let mut line = |text: &str| {
        page.push_str(text);
        page.push('\n');
    };
    for section in sections {
        if !section.header.is_empty() {
            line(&format!(".SS {}", escape(&section.header)));
        }
        for entry in &section.entries {
            line(if entry.settings.is_empty() {
                ".PP"
            } else {
                ".TP"
            });
            for (at, (key, value)) in entry.settings.iter().enumerate() {
                if at > 0 {
                    line(".TQ");
                }
                line(&format!("{} = {}", bold(key), escape(value)));
            }
            for text in &entry.comment {
                // A row of a table without lines: `Times:   "500ms"`.
                match text.split_once(": ") {
                    Some((term, rest)) if rest.starts_with(' ') => {
                        line(".TP 9");
                        line(&bold(term));
                        line(&prose(rest.trim_start()));
                    }
                    _ => line(&prose(text.trim_start())),
                }
            }
        }
    }
    page
}
