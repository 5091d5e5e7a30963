//! Tests of mistakes inside lists.

use super::diagnostics;

#[test]
fn mistakes_in_several_routes_are_reported_at_their_own_tables() {
    let text = r#"
[[routes]]
path = "/a"
[[routes]]
path = "/b"
status = 500
[[routes]]
path = "/c"
files = "a"
redirect = "https://a"
[[routes]]
path = "/d"
foo = 1
links = []
"#;
    let found = diagnostics(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
    assert_eq!(lines, [6, 7, 11, 13, 14], "{found:#?}");
    for (number, part) in [
        (0, "403 or 404"),
        (1, "one of upstream"),
        (2, "need files"),
        (3, "foo"),
        (4, "is called"),
    ] {
        assert!(found[number].1.contains(part), "{found:#?}");
    }
}

#[test]
fn incomplete_certificate_hides_no_mistake_in_the_next() {
    let text = "[[tls.certificates]]\ncertificate = \"a\"\n[[tls.certificates]]\nfoo = 1\n";
    let found = diagnostics(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
    assert_eq!(lines[0], 1, "{found:#?}");
    assert!(
        found.iter().any(|(_, message)| message.contains("foo")),
        "{found:#?}"
    );
}

#[test]
fn invalid_element_of_a_list_is_reported_at_its_line() {
    let found = diagnostics("[server]\nlisten = [\n  \"[::]:443\",\n  \"here\",\n]\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].0, Some(4), "{found:#?}");
    let found = diagnostics("[websocket]\npaths = [\n  \"/ws\",\n  \"/x/*\",\n]\n");
    assert_eq!(found[0].0, Some(4), "{found:#?}");
}
