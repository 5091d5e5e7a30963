//! The text of `config.toml`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pwd_edge::config::{Config, Diagnostic};

fuzz_target!(|text: &str| {
    let Err(mistakes) = Config::from_toml(text) else {
        return;
    };
    assert!(!mistakes.all().is_empty());
    assert!(
        mistakes
            .all()
            .is_sorted_by_key(|mistake| (mistake.line, mistake.column))
    );
    assert!(!mistakes.to_string().is_empty());
    for mistake in mistakes.all() {
        check(mistake, text);
    }
});

/// Checks that a mistake has a place in the text, or right behind the end of a line.
fn check(mistake: &Diagnostic, text: &str) {
    assert!(!mistake.message.is_empty(), "{mistake:?}");
    assert!(mistake.column > 0, "{mistake:?}");
    let Some(line) = mistake.line else {
        return;
    };
    let source = text
        .split('\n')
        .nth(line.wrapping_sub(1))
        .expect("the line is in the file");
    assert!(mistake.column <= source.chars().count() + 1, "{mistake:?}");
}
