//! W3C Trace Context: a well-formed `traceparent` is forwarded unchanged, any other is
//! removed.

use hyper::header::{HeaderMap, HeaderName};

use crate::core::header_values::single_value;

/// Removes `traceparent` unless it is exactly one well-formed value, and with it
/// `tracestate`, which is meaningless without it (Trace Context §3.2.2, §3.3).
pub(super) fn normalize(headers: &mut HeaderMap) {
    // Most requests have neither. Comparing their few names is cheaper than hashing and
    // looking up both.
    if !headers
        .keys()
        .any(|name| [TRACEPARENT, TRACESTATE].contains(name))
    {
        return;
    }
    let value = single_value(headers, &TRACEPARENT);
    let is_valid = value.is_some_and(|value| is_well_formed(value.as_bytes()));
    if !is_valid {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
}

/// Returns whether `value` consists of version, trace id, parent id and flags, in lower-case
/// hexadecimal digits separated by hyphens. Versions after 00 may append more fields; the
/// version ff is invalid.
fn is_well_formed(value: &[u8]) -> bool {
    let is_digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let mut parts = value.splitn(5, |b| *b == b'-');
    let fields = [2, 32, 16, 2].map(|length| {
        let part = parts.next().unwrap_or_default();
        (part.len() == length && part.iter().all(is_digit)).then_some(part)
    });
    let [Some(version), Some(trace), Some(parent), Some(_)] = fields else {
        return false;
    };
    let is_non_zero = |id: &[u8]| id.iter().any(|b| *b != b'0');
    let has_valid_end = parts.next().is_none() || version != b"00";
    version != b"ff" && is_non_zero(trace) && is_non_zero(parent) && has_valid_end
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_outside_the_standard_is_malformed() {
        let valid = [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ];
        for value in valid {
            assert!(is_well_formed(value.as_bytes()), "{value}");
        }
        let wrong = [
            "",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for value in wrong {
            assert!(!is_well_formed(value.as_bytes()), "{value}");
        }
    }
}
