//! Reading of header fields: a value that must occur once, the elements of a list, and the
//! option `upgrade`.

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

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

/// Returns the elements of a comma-separated list, without the whitespace around them. A
/// list may be spread over several fields (RFC 9110 §5.3, §5.6.1).
pub(crate) fn list_elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
}

/// Returns whether the list of a header contains `element`, compared without case.
pub(crate) fn has_element(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    list_elements(headers, name).any(|one| one.eq_ignore_ascii_case(element))
}

/// Returns whether `Connection` contains the option `upgrade` (RFC 9110 §7.8).
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_element(headers, &CONNECTION, "upgrade")
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
