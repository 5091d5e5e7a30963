//! Characters that change the direction of text: strangers choose names and paths, and
//! others read them beside their own.

/// Whether `c` changes the direction of what follows it (Unicode's `Bidi_Control`,
/// UAX #9 §2).
pub fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
