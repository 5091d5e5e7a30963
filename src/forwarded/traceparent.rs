//! Where a request belongs in somebody's trace (W3C Trace Context): passed on as
//! it came, or not at all.

use hyper::header::{HeaderMap, HeaderName};

/// Takes away a `traceparent` that is not exactly one well-formed value, and the
/// `tracestate` that means nothing without it (Trace Context §3.2.2, §3.3).
pub(super) fn normalize(headers: &mut HeaderMap) {
    // Mostly there is none; to compare names is cheaper than to look for each.
    if !headers
        .keys()
        .any(|name| [TRACEPARENT, TRACESTATE].contains(name))
    {
        return;
    }
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let sound = match (values.next(), values.next()) {
        (Some(value), None) => is_well_formed(value.as_bytes()),
        _ => false,
    };
    if !sound {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
}

/// Version, trace id, parent id and flags, in lower-case hexadecimal digits
/// between hyphens. Versions after 00 may say more behind them; ff is none.
fn is_well_formed(value: &[u8]) -> bool {
    let digits = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let mut parts = value.splitn(5, |b| *b == b'-');
    let fits = [2, 32, 16, 2].map(|length| {
        let part = parts.next().unwrap_or_default();
        (part.len() == length && part.iter().all(digits)).then_some(part)
    });
    let [Some(version), Some(trace), Some(parent), Some(_)] = fits else {
        return false;
    };
    let is_some = |id: &[u8]| id.iter().any(|b| *b != b'0');
    let ends_well = parts.next().is_none() || version != b"00";
    version != b"ff" && is_some(trace) && is_some(parent) && ends_well
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_knows_is_well_formed() {
        let sound = [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ];
        for value in sound {
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
