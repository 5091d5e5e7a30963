//! Tests of mistakes inside lists.

use super::diagnostics;
use crate::config::Config;

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

#[test]
fn each_invalid_element_of_a_list_is_reported() {
    for (text, wrong) in [
        (
            "[server]\ntrusted_proxies = [\n\"10.0.0.0/33\",\n\"10.0.0.0/8\",\n\"cloudfare\",\n\"0.0.0.0/0\",\n]\n",
            &[3, 5, 6][..],
        ),
        (
            "[limits]\nexempt = [\n\"10.0.0.1/8\",\n\"here\",\n]\n",
            &[3, 4],
        ),
        (
            "[limits]\ndry_run = [\n\"request_per_second\",\n\"route\",\n\"all\",\n]\n",
            &[3, 5],
        ),
        (
            "[server]\nlisten = [\n\"443\",\n\"[::]:443\",\n\"localhost:80\",\n]\n",
            &[3, 5],
        ),
        (
            "[upstream]\nurl = [\n\"unix:/a\",\n\"unix:/a\",\n\"https://b\",\n\"unix:c\",\n]\n",
            &[4, 5, 6],
        ),
        (
            "[[routes]]\nhosts = [\n\"a:80\",\n\"*\",\n]\nstatus = 404\n",
            &[3, 4],
        ),
    ] {
        let found = diagnostics(text);
        let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
        assert_eq!(lines, wrong, "{text}: {found:#?}");
    }
}

/// Without the invalid element the list would be empty, and the rule that it needs one
/// would be a second report of one mistake.
#[test]
fn list_with_an_invalid_element_is_judged_by_no_rule() {
    for text in [
        "[server]\nlisten = [\"here\"]\n",
        "[auth]\nuser_id = [\"id\"]\n",
        "[upstream]\nurl = [\"here\"]\n",
        "[[routes]]\npass_upgrades = true\nupgrade_protocols = [\"h2c\"]\n",
        "[[routes]]\nallowed_symlink_targets = [7]\n",
        "[server]\nproxy_protocol = [\"[::]:80\"]\nredirect_listen = [\"[::]80\"]\ntrusted_proxies = [\"10.0.0.1\"]\n",
    ] {
        let found = diagnostics(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
    }
}

#[test]
fn addresses_that_cannot_be_bound_together_are_rejected() {
    for (text, line, message) in [
        (
            "[server]\nlisten = [\n\"[::]:443\",\n\"0.0.0.0:443\",\n]\n",
            4,
            "0.0.0.0:443 conflicts with [::]:443 of server.listen",
        ),
        (
            "[server]\nlisten = [\n\"127.0.0.1:443\",\n\"[::]:443\",\n]\n",
            4,
            "[::]:443 conflicts with 127.0.0.1:443 of server.listen",
        ),
        (
            "[server]\nlisten = [\n\"[::]:443\",\n\"[::]:80\",\n]\nredirect_listen = [\"[::]:80\"]\n",
            6,
            "[::]:80 is already in server.listen",
        ),
        // server.listen has its default.
        (
            "[admin]\nlisten = [\"127.0.0.1:443\"]\n",
            2,
            "127.0.0.1:443 conflicts with [::]:443 of server.listen",
        ),
    ] {
        let found = diagnostics(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert_eq!(found[0].0, Some(line), "{text}: {found:#?}");
        assert!(found[0].1.contains(message), "{text}: {found:#?}");
    }
    let all = "[server]\nlisten = [\"0.0.0.0:443\", \"[::1]:443\"]\nredirect_listen = [\"[::]:80\"]\n[admin]\nlisten = [\"127.0.0.1:9180\"]\n";
    Config::from_toml(all).unwrap();
}
