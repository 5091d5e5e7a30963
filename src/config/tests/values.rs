//! Tests of the messages for values of a wrong type or out of range.

use super::diagnostics;

#[test]
fn number_out_of_range_is_reported_with_its_range() {
    for (text, expected) in [
        (
            "[limits]\nmax_connections = -4\n",
            "integer `-4`, expected a whole number from 1 to 1000000",
        ),
        (
            "[limits]\nmax_connections = 0\n",
            "integer `0`, expected a whole number from 1 to 1000000",
        ),
        (
            "[limits]\nmax_connections = \"many\"\n",
            "string \"many\", expected a whole number from 1 to 1000000",
        ),
        (
            "[[routes]]\nstatus = \"x\"\n",
            "string \"x\", expected the number 403 or 404",
        ),
        (
            "[[routes]]\nstatus = 500\n",
            "integer `500`, expected the number 403 or 404",
        ),
    ] {
        let found = diagnostics(text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].0, Some(2), "{found:#?}");
        assert!(found[0].1.contains(expected), "{found:#?}");
    }
}

#[test]
fn value_with_quotes_or_without_is_reported_in_plain_words() {
    let found = diagnostics("[tls]\nmin_version = 1.2\n");
    assert!(
        found[0].1.contains("expected a value in quotes"),
        "{found:#?}"
    );
    let found = diagnostics("[[routes]]\npass_upgrades = \"yes\"\n");
    assert!(found[0].1.contains("expected true or false"), "{found:#?}");
}
