//! Errors with their causes, for logs and people.
//!
//! One convention holds for all errors of this crate: `Display` says what failed, and what
//! to do about it, but never repeats its `source`. The code that reports an error writes
//! the whole chain, once, with [`error_chain`].

use std::error::Error;

/// Returns `error` and its causes, the outermost first, joined by `": "`.
///
/// A cause that the text ends with already is left out: some libraries repeat their
/// source.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the file")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the disk failed")]
    struct Middle(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("request failure: {0}")]
    struct Repeating(#[source] Middle);

    fn middle() -> Middle {
        Middle(io::ErrorKind::TimedOut.into())
    }

    #[test]
    fn chain_names_every_cause_once() {
        let text = error_chain(&Outer(middle()));
        assert_eq!(text, "cannot read the file: the disk failed: timed out");
        assert_eq!(error_chain(&io::Error::other("alone")), "alone");
    }

    #[test]
    fn cause_that_a_library_repeats_is_left_out() {
        let text = error_chain(&Repeating(middle()));
        assert_eq!(text, "request failure: the disk failed: timed out");
    }
}
