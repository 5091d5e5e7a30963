//! Reading of header fields: a value that must occur once, the elements of a list, the
//! option `upgrade`, and the length of a body.

use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};

/// Returns the value of a header that occurs exactly once. If it occurs twice, one of the
/// two may be an attacker's, and servers differ in which one they read. So neither counts.
pub(crate) fn single_value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Returns the [`single_value`] of a header as text; `None` unless it is visible ASCII.
pub(crate) fn single_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    single_value(headers, name)?.to_str().ok()
}

/// Returns the elements of a comma-separated list, without the whitespace around them and
/// without empty ones. A list may be spread over several fields (RFC 9110 §5.3, §5.6.1).
pub(crate) fn list_elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|element| !element.is_empty())
}

/// Returns whether the list of a header contains `element`, compared without case.
pub(crate) fn has_element(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    list_elements(headers, name).any(|one| one.eq_ignore_ascii_case(element))
}

/// Returns whether `Connection` contains the option `upgrade` (RFC 9110 §7.8).
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_element(headers, &CONNECTION, "upgrade")
}

/// The error of a `Content-Length` that is no number, or two different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its Content-Length is not one number")]
pub(crate) struct InvalidContentLength;

/// Replaces equal values of `Content-Length` by one (RFC 9110 §8.6). Clients of HTTP/2
/// reject two.
///
/// # Errors
/// Returns [`InvalidContentLength`] if a value is no number, or two differ.
pub(crate) fn unify_content_length(headers: &mut HeaderMap) -> Result<(), InvalidContentLength> {
    let mut lengths = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|digits| parse_length(digits.trim_ascii()));
    let Some(first) = lengths.next() else {
        return Ok(());
    };
    let length = first.ok_or(InvalidContentLength)?;
    let mut count = 1;
    for other in lengths {
        if other != Some(length) {
            return Err(InvalidContentLength);
        }
        count += 1;
    }
    if count > 1 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

/// Parses digits only; `u64::from_str` would accept a leading `+`.
fn parse_length(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use hyper::header::UPGRADE;

    use super::*;

    fn headers(fields: &[(&HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn header_that_occurs_twice_has_no_single_value() {
        assert_eq!(single_text(&headers(&[]), &UPGRADE), None);
        let one = headers(&[(&UPGRADE, "a, b")]);
        assert_eq!(single_text(&one, &UPGRADE), Some("a, b"));
        let two = headers(&[(&UPGRADE, "a"), (&UPGRADE, "a")]);
        assert_eq!(single_text(&two, &UPGRADE), None);
    }

    #[test]
    fn equal_lengths_become_one_and_others_are_rejected() {
        for values in [&["7"][..], &["7", "7"], &["7, 7"], &["7,7", "07"]] {
            let mut lengths = HeaderMap::new();
            for value in values {
                lengths.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            assert_eq!(unify_content_length(&mut lengths), Ok(()), "{values:?}");
            let left: Vec<_> = lengths.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(left, ["7"], "{values:?}");
        }
        for values in [
            &["7", "8"][..],
            &["7, 8"],
            &["", "7"],
            &["7,"],
            &["+7"],
            &["a"],
            &["99999999999999999999"],
        ] {
            let mut lengths = HeaderMap::new();
            for value in values {
                lengths.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            assert!(unify_content_length(&mut lengths).is_err(), "{values:?}");
        }
        assert_eq!(unify_content_length(&mut HeaderMap::new()), Ok(()));
    }

    #[test]
    fn option_upgrade_is_found_in_every_field_and_case() {
        for value in ["upgrade", "Upgrade", "keep-alive ,\tUPGRADE"] {
            assert!(wants_upgrade(&headers(&[(&CONNECTION, value)])), "{value}");
        }
        let two = headers(&[(&CONNECTION, "close"), (&CONNECTION, "upgrade")]);
        assert!(wants_upgrade(&two));
        for value in ["", "close", "upgrades", "x-upgrade"] {
            assert!(!wants_upgrade(&headers(&[(&CONNECTION, value)])), "{value}");
        }
    }
}
