//! Characters that change the direction of text or are never shown: strangers choose
//! names and paths, and others read them beside their own.

/// Whether `c` changes the direction of what follows it (Unicode's `Bidi_Control`,
/// UAX #9 §2).
pub fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether `c` is never shown and no language or emoji is written with it: soft hyphen,
/// spaces and joiners without width, and the like (of Unicode's `Cf` and `Zl`, `Zp`).
/// With it two names look the same and are not. Persian, Hindi and emoji need U+200C
/// and U+200D, and flags are made of tags (U+E0020 and more): those are none of it.
pub fn is_invisible(c: char) -> bool {
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
    fn what_languages_and_emoji_are_written_with_stays() {
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
