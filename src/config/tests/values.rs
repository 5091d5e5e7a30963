//! Tests of the messages for values of a wrong type or out of range.

use super::diagnostics;
use crate::config::Config;

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
            "[server]\nworker_threads = -4\n",
            "integer `-4`, expected a whole number from 0 to 1024",
        ),
        (
            "[server]\nworker_threads = 1025\n",
            "integer `1025`, expected a whole number from 0 to 1024",
        ),
        (
            "[limits]\nipv6_prefix = -64\n",
            "integer `-64`, expected a whole number from 32 to 128, usually 64 or 56",
        ),
        (
            "[limits]\nipv6_site_prefix = 31\n",
            "integer `31`, expected a whole number from 32 to 128",
        ),
        (
            "[broadcast]\nallowed_uids = [0, -33]\n",
            "integer `-33`, expected a whole number from 0 to 4294967295",
        ),
        (
            "[broadcast]\nallowed_uids = [\"www-data\"]\n",
            "string \"www-data\", expected a whole number from 0 to 4294967295",
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

#[test]
fn value_that_fails_only_at_the_start_is_rejected() {
    let long = "a".repeat(107);
    for (text, message) in [
        (
            "[upstream]\nurl = \"unix:/run/php/php8.2-fpm.sock\"\n",
            "expected \"fastcgi+unix:/run/php/php8.2-fpm.sock\"",
        ),
        (
            &format!("[upstream]\nurl = \"unix:/{long}\"\n"),
            "has 108 bytes",
        ),
        (
            &format!("[broadcast]\nsocket = \"/{long}\"\n"),
            "has 108 bytes",
        ),
        (
            "[broadcast]\nsocket = \"\"\n",
            "broadcast.socket must name a file",
        ),
        (
            "[tls.acme]\ncontact = [\"admin@example.org\"]\n",
            "expected \"mailto:admin@example.org\"",
        ),
        (
            "[tls.acme]\ndirectory = \"https://\"\n",
            "must be a URL that begins with https://",
        ),
    ] {
        let found = diagnostics(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert_eq!(found[0].0, Some(2), "{text}: {found:#?}");
        assert!(found[0].1.contains(message), "{text}: {found:#?}");
    }
}

#[test]
fn relative_socket_path_is_measured_from_the_config_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let room = 107 - directory.path().as_os_str().len() - 1;
    for (bytes, is_valid) in [(room, true), (room + 1, false)] {
        let text = format!("[broadcast]\nsocket = \"{}\"\n", "a".repeat(bytes));
        std::fs::write(&file, text).unwrap();
        let loaded = Config::load(&file);
        assert_eq!(loaded.is_ok(), is_valid, "{bytes}: {loaded:?}");
        if let Err(error) = loaded {
            let error = error.to_string();
            assert!(
                error.contains("config.toml:2:10: broadcast.socket: /"),
                "{error}"
            );
        }
    }
}

#[test]
fn session_cookies_need_the_name_of_a_cookie_and_a_logout_path() {
    let auth = |keys: &str| format!("[auth]\n{keys}\n");
    let cookies = "session_cookies = [\"desk_session\", \"__Host-desk\"]";
    Config::from_toml(&auth(cookies)).unwrap();
    for (text, line, expected) in [
        (
            auth("session_cookies = [\"desk session\"]"),
            2,
            "\"desk session\" is not the name of a cookie",
        ),
        (
            auth("session_cookies = [\"desk_session\", \"XSRF-TOKEN\"]"),
            2,
            "XSRF-TOKEN is the CSRF token",
        ),
        (
            auth("session_cookies = [\"a\", \"b\", \"a\"]"),
            2,
            "auth.session_cookies names a cookie twice",
        ),
        (
            auth(&format!("{cookies}\nlogout_paths = []")),
            3,
            "auth.logout_paths needs the path of the log-out",
        ),
    ] {
        let found = diagnostics(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, Some(line));
        assert!(found[0].1.contains(expected), "{found:?}");
    }
}
