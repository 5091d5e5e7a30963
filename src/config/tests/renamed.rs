//! Tests of keys that had another name.

use super::diagnostics;
use crate::config::Config;
use crate::config::renamed::RENAMED;

/// The message names the new key, and the settings have that one.
#[test]
fn old_key_is_told_with_its_new_name() {
    for (section, names) in RENAMED {
        for (old, new) in names {
            let header = if section == "routes" {
                "[[routes]]".to_owned()
            } else {
                format!("[{section}]")
            };
            // No key has such a value, so the settings speak up for the new one, too.
            let found = diagnostics(&format!("{header}\n{old} = [[]]\n"));
            let message = format!("`{section}.{old}` is called `{section}.{new}` now");
            assert_eq!(found[0], (Some(2), message), "{found:#?}");
            let unknown = |message: &String| message.contains("unknown key");
            assert!(!found.iter().any(|(_, message)| unknown(message)));
            assert!(found.len() == 2, "{section}.{new}: {found:#?}");
        }
    }
}

#[test]
fn old_key_in_a_table_by_name_is_told_by_that_name() {
    let found = diagnostics("[upstreams.vite]\nurl = \"http://127.0.0.1:1\"\nwait = \"1s\"\n");
    let message = "`upstreams.vite.wait` is called `upstreams.vite.connect_retry_timeout` now";
    assert_eq!(found, [(Some(3), message.to_owned())]);
}

#[test]
fn old_table_is_read_under_its_new_name() {
    let found = diagnostics("[tls.clients]\ncertificate = \"maybe\"\n");
    let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
    assert_eq!(lines, [1, 2, 2], "{found:#?}");
    assert_eq!(found[0].1, "`tls.clients` is called `tls.client_auth` now");
    let inside = "`tls.client_auth.certificate` is called `tls.client_auth.mode` now";
    assert_eq!(found[1].1, inside);
    assert!(found[2].1.contains("`optional`"), "{found:#?}");
}

#[test]
fn old_key_beside_its_new_name_is_told_once() {
    let found = diagnostics("[http]\nmax_body = 1\nmax_body_size = \"1 MiB\"\n");
    assert_eq!(found.len(), 1, "{found:#?}");
}

/// The default of the new key would break it.
#[test]
fn rule_about_an_old_key_is_not_told() {
    let found =
        diagnostics("[upstream]\nresponse_timeout = \"5m\"\n[http]\nstall_timeout = \"6m\"\n");
    let message = "`http.stall_timeout` is called `http.stream_idle_timeout` now";
    assert_eq!(found, [(Some(4), message.to_owned())]);
}

#[test]
fn key_that_has_the_old_name_of_another_is_taken() {
    Config::from_toml("[upstream]\nmax_connections = 5\n").unwrap();
    let found = diagnostics("[upstream]\nconnections = 5\n");
    assert!(!found[0].1.contains("is called"), "{found:#?}");
}

#[test]
fn old_key_in_a_wrong_table_is_told_with_its_new_name_and_table() {
    let found = diagnostics("[limits]\nmax_body = 1\nsessions_per_user = 1\n");
    let messages: Vec<_> = found.into_iter().map(|(_, message)| message).collect();
    assert_eq!(
        messages,
        [
            "unknown key `max_body`; did you mean `max_body_size` of [http] or `max_body_size` of \
             [[routes]] or `max_body_size` of [broadcast]?",
            "unknown key `sessions_per_user`; did you mean `max_sessions_per_user` of [websocket]?",
        ]
    );
}
