//! Reports of mistakes in `config.toml`, each with its line and column.

use std::fmt;
use std::ops::Range;

/// A mistake in the file and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The message: the mistake and the expected value.
    pub message: String,
    /// The line, from 1; `None` if the mistake has no place in the file.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: usize,
    /// The text of the line, with a space for each tab so that the carets align.
    source: String,
    /// Number of characters to mark, at least 1.
    width: usize,
}

impl Diagnostic {
    /// Creates a diagnostic for the bytes at `span` of `text`. Without a span it has no line.
    pub(super) fn new(text: &str, span: Option<Range<usize>>, message: String) -> Self {
        let Some(span) = span else {
            return Self {
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
        Self {
            message,
            line: Some(before.matches('\n').count() + 1),
            column,
            source: source.replace('\t', " "),
            width: wrong.min(on_line).max(1),
        }
    }
}

/// All mistakes of a file, in the order of its lines. Those without a line come first.
///
/// It displays each with its line of the file and carets below the mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    all: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Returns the mistakes in the order of their lines.
    pub fn all(&self) -> &[Diagnostic] {
        &self.all
    }

    /// Sorts the mistakes of a text by line and column. The file is called `config.toml` until
    /// [`Diagnostics::in_file`] sets its name.
    pub(super) fn sorted(mut all: Vec<Diagnostic>) -> Self {
        all.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        Self {
            file: "config.toml".to_owned(),
            all,
        }
    }

    /// Sets the name of the file that the report shows.
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
