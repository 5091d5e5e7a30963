//! Characters that change the direction of text or are never shown. Clients choose the
//! names of files and the paths in the log; such characters would make them look like
//! other names.

/// Returns whether `c` changes the direction of the text after it (Unicode property
/// `Bidi_Control`, UAX #9 §2).
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns whether `c` is invisible and needed by no language and no emoji: the soft
/// hyphen, zero-width spaces and joiners, and the like (from Unicode's categories `Cf`,
/// `Zl` and `Zp`). Such a character makes two different names look the same.
///
/// U+200C and U+200D are not among them, since Persian, Hindi and emoji need them; nor are
/// the tag characters from U+E0020, which make up flags.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}'
            | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_of_languages_and_emoji_are_allowed() {
        for honest in [
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩\u{200d}👧 ❤\u{fe0f}",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "מסמך (1) 2026",
            "at 10.15\u{202f}AM",
        ] {
            assert!(
                !honest.contains(|c| is_bidi_control(c) || is_invisible(c)),
                "{honest}"
            );
        }
    }
}
