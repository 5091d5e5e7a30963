//! The blocks of a PEM file (RFC 7468), each with its line.
//!
//! rustls' parser skips a boundary that it does not recognise, and a whole certificate with
//! it. So this module finds the boundaries first, and the parser decodes one block at a time.

use super::error::PemProblem;

/// A block of a PEM file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PemBlock<'a> {
    /// The label of its boundaries, such as `CERTIFICATE`.
    pub(super) label: &'a str,
    /// The line of its first boundary, from 1.
    pub(super) line: usize,
    /// The block with both boundaries.
    pub(super) text: &'a [u8],
}

/// A line that begins or ends a block, with the label.
enum Boundary<'a> {
    Begin(&'a str),
    End(&'a str),
}

/// Splits a file into its blocks. Text between them is explanatory, and is ignored.
///
/// # Errors
/// Returns [`PemProblem::Broken`] for the first boundary that is malformed or has no
/// counterpart.
pub(super) fn split_blocks(text: &[u8]) -> Result<Vec<PemBlock<'_>>, PemProblem> {
    let broken = |line, problem| PemProblem::Broken { line, problem };
    if UTF16_MARKS.iter().any(|mark| text.starts_with(mark)) {
        return Err(broken(1, "the file is in UTF-16; save it as plain text"));
    }
    let (mut blocks, mut open) = (Vec::new(), None);
    let (mut line, mut end) = (1, 0);
    for piece in text.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        let start = end;
        end += piece.len();
        match (boundary(piece), open) {
            (Ok(None), _) => {}
            (Ok(Some(Boundary::Begin(label))), None) => open = Some((label, line, start)),
            (Ok(Some(Boundary::End(label))), Some((begun, line, start))) if label == begun => {
                let text = &text[start..end];
                blocks.push(PemBlock { label, line, text });
                open = None;
            }
            (Ok(Some(Boundary::Begin(_))), Some((_, begun, _))) => {
                return Err(broken(begun, UNENDED));
            }
            (Ok(Some(Boundary::End(_))), _) => return Err(broken(line, UNBEGUN)),
            (Err(problem), _) => return Err(broken(line, problem)),
        }
        // A line feed after a carriage return belongs to the same line.
        let is_line = piece.ends_with(b"\n") || text.get(end) != Some(&b'\n');
        line += usize::from(is_line);
    }
    match open {
        Some((_, line, _)) => Err(broken(line, CUT_OFF)),
        None => Ok(blocks),
    }
}

/// Parses a line; `None` if it has no part of a boundary.
///
/// # Errors
/// Returns the problem if a boundary is not the whole line, or is malformed.
fn boundary(line: &[u8]) -> Result<Option<Boundary<'_>>, &'static str> {
    let is_mark = |at: &usize| MARKS.iter().any(|mark| line[*at..].starts_with(mark));
    let marks = (0..line.len()).filter(is_mark).count();
    if marks == 0 {
        return Ok(None);
    }
    if let Some(whole) = parse_boundary(line) {
        return Ok(Some(whole));
    }
    Err(if line.starts_with(BYTE_ORDER_MARK) {
        "a byte order mark stands before the \"-----BEGIN\"; save the file as plain text"
    } else if parse_boundary(line.trim_ascii_start()).is_some() {
        "blanks stand before the \"-----\"; remove them"
    } else if marks > 1 {
        "two boundaries (\"-----END\", \"-----BEGIN\") share this line; put a line break between them"
    } else {
        "the \"-----BEGIN\" or \"-----END\" is malformed, or shares its line with other text; \
         copy the file again"
    })
}

/// Parses a line that is a boundary and nothing else (RFC 7468 §3). Blanks after it are usual.
fn parse_boundary(line: &[u8]) -> Option<Boundary<'_>> {
    let inner = line.trim_ascii_end().strip_prefix(b"-----")?;
    let inner = std::str::from_utf8(inner.strip_suffix(b"-----")?).ok()?;
    let (kind, label) = inner.split_once(' ')?;
    let is_label = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    if label.is_empty() || label.len() > MAX_LABEL_BYTES || !label.chars().all(is_label) {
        return None;
    }
    match kind {
        "BEGIN" => Some(Boundary::Begin(label)),
        "END" => Some(Boundary::End(label)),
        _ => None,
    }
}

const CUT_OFF: &str = "the block that begins there ends in the middle; copy the file again";
const UNENDED: &str = "the block that begins there has no \"-----END\" before the next \"-----BEGIN\"; \
     copy the file again";
const UNBEGUN: &str = "the \"-----END\" has no matching \"-----BEGIN\"; copy the file again";
/// The parts of a line that show a boundary, even one with too few dashes.
const MARKS: [&[u8]; 2] = [b"-BEGIN ", b"-END "];
/// Longer labels are damage. A label becomes a part of an error, so it must be no secret.
const MAX_LABEL_BYTES: usize = 40;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The byte order marks of UTF-16 (RFC 2781 §3.2), which PowerShell writes.
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_and_lines(text: &str) -> Vec<(&str, usize)> {
        let blocks = split_blocks(text.as_bytes()).unwrap();
        blocks
            .iter()
            .map(|block| (block.label, block.line))
            .collect()
    }

    #[test]
    fn blocks_are_found_with_their_lines_in_every_line_ending() {
        let text = "subject=CN\n-----BEGIN A B-----  \nxx\n-----END A B-----\n\n-----BEGIN C-----\n-----END C-----";
        for text in [
            text.to_owned(),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r"),
        ] {
            assert_eq!(labels_and_lines(&text), [("A B", 2), ("C", 6)], "{text:?}");
        }
        assert_eq!(labels_and_lines(""), []);
    }

    #[test]
    fn damaged_boundary_is_an_error_with_its_line() {
        let (begin, end) = ("-----BEGIN C-----", "-----END C-----");
        for (text, line, part) in [
            (
                format!("{begin}\nxx\n{end}{begin}\nyy\n{end}\n"),
                3,
                "line break",
            ),
            (
                format!("\u{feff}{begin}\nxx\n{end}\n"),
                1,
                "byte order mark",
            ),
            (
                format!("{begin}\n{end}\n\u{feff}{begin}\n{end}\n"),
                3,
                "byte order mark",
            ),
            (format!("\n\n {begin}\nxx\n{end}\n"), 3, "blanks"),
            (format!("{begin}\nxx\n\t{end}\n"), 3, "blanks"),
            (format!("{begin}\nxx{end}\n"), 2, "malformed"),
            (format!("-{begin}\nxx\n{end}\n"), 1, "malformed"),
            (
                format!("{begin}\n{end}\n----BEGIN C-----\nxx\n{end}"),
                3,
                "malformed",
            ),
            (
                format!("{begin}\nxx\n{begin}\nxx\n{end}\n"),
                1,
                "no \"-----END\"",
            ),
            (format!("xx\n{end}\n"), 2, "no matching"),
            (format!("{begin}\nxx\n-----END D-----\n"), 3, "no matching"),
            (format!("a\n{begin}\nxx\n"), 2, "ends in the middle"),
        ] {
            let error = split_blocks(text.as_bytes()).unwrap_err().to_string();
            let place = format!("line {line}: ");
            assert!(
                error.contains(&place) && error.contains(part),
                "{text:?}: {error}"
            );
        }
        let utf16: Vec<_> = "\u{feff}-----BEGIN"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let error = split_blocks(&utf16).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }
}
