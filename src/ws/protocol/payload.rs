//! Reads the payload of a command.

use serde::Deserialize;

use super::error::CommandError;

/// Reads the payload of a command of type `kind`, which must be an object.
///
/// # Errors
/// `Payload`, with `kind` and the `expected` content.
pub(super) fn read<'a, T: Deserialize<'a>>(
    kind: &'static str,
    payload: &'a str,
    expected: &'static str,
) -> Result<T, CommandError> {
    // serde reads a struct from an array, too, which the protocol does not allow.
    if payload.trim_start().starts_with('{') {
        serde_json::from_str(payload).map_err(|_| CommandError::Payload(kind, expected))
    } else {
        Err(CommandError::Payload(kind, expected))
    }
}
