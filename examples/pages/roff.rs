//! Text in the language of man pages, groff_man(7).

/// Returns `text` as plain text: nothing in it is a request, an escape or a dash.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (at, c) in text.char_indices() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            '.' if at == 0 => escaped.push_str("\\&."),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Returns `text` in bold.
pub(crate) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

/// Returns one line of prose, in which text between backticks is bold.
pub(crate) fn prose(line: &str) -> String {
    let parts = line.split('`').enumerate();
    let parts = parts.map(|(at, part)| {
        if at % 2 == 1 {
            bold(part)
        } else {
            escape(part)
        }
    });
    parts.collect()
}
