//! Tests of keys that guard nothing if they are written wrongly.

use crate::config::Config;
use crate::http;

/// A pattern fits no request, so what it was meant to guard would stand open.
#[test]
fn path_with_a_pattern_is_rejected_with_line_and_meaning() {
    let below = "matches itself and everything below it";
    let exact = "means exactly it and nothing below";
    let sent = "sent as it is written";
    for (section, key, meaning) in [
        ("[[routes]]\nstatus = 403", "path = \"PATH\"", below),
        (
            "[compression]",
            "exclude_paths = [\"/login\", \"PATH\"]",
            below,
        ),
        ("[limits]", "login_paths = [\"/login\", \"PATH\"]", exact),
        ("[auth]", "logout_paths = [\"/logout\", \"PATH\"]", exact),
        ("[websocket]", "paths = [\"/ws\", \"PATH\"]", exact),
        ("[auth]", "user_path = \"PATH\"", sent),
        ("[auth]", "ticket_path = \"PATH/{id}\"", sent),
        ("[websocket.uploads]", "path = \"PATH/{id}\"", sent),
        ("[upstream]", "health_check_path = \"PATH\"", sent),
    ] {
        for path in ["/x/*", "/x/**", "/x/{any}", "/^x", "/x/.*", "/(x|y)", "/x$"] {
            let text = format!("{section}\n{}\n", key.replace("PATH", path));
            let line = text.lines().count();
            let diagnostics = Config::from_toml(&text).unwrap_err();
            let [error] = diagnostics.all() else {
                panic!("{text}: {diagnostics}");
            };
            assert_eq!(error.line, Some(line), "{diagnostics}");
            assert!(error.column > key.find('=').unwrap(), "{diagnostics}");
            assert!(error.message.contains(meaning), "{diagnostics}");
        }
    }
}

#[test]
fn trusted_headers_without_proxies_that_set_them_are_rejected() {
    let server = |keys: &str| Config::from_toml(&format!("[server]\n{keys}"));
    let listed = "trusted_headers = [\"x-forwarded-for\", \"X-Forwarded-Host\"]\n";
    server(&format!("trusted_proxies = [\"10.0.0.1\"]\n{listed}")).unwrap();
    server("trusted_headers = [\"x-forwarded-for\"]").unwrap();
    for proxies in ["", "trusted_proxies = [\"cloudflare\"]\n"] {
        let error = server(&format!("{listed}{proxies}")).unwrap_err();
        assert_eq!(error.all()[0].line, Some(2), "{error}");
        assert!(
            error.to_string().contains("write these headers themselves"),
            "{error}"
        );
    }
    for without in ["[]", "[\"x-forwarded-host\"]"] {
        let text = format!("trusted_proxies = [\"10.0.0.1\"]\ntrusted_headers = {without}");
        let error = server(&text).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("must have \"x-forwarded-for\""), "{error}");
    }
    let error = server("trusted_headers = [\"x-real-ip\"]").unwrap_err();
    assert!(error.to_string().contains("\"x-forwarded-for\""), "{error}");
}

#[test]
fn tunnel_protocols_without_tunnel_or_with_http_are_rejected() {
    let route = |keys: &str| Config::from_toml(&format!("[[routes]]\n{keys}\n"));
    let both = route("pass_upgrades = true\nupgrade_protocols = [\"websocket\", \"example/1\"]");
    assert_eq!(both.unwrap().routes[0].upgrade_protocols.len(), 2);
    let alone = route("pass_upgrades = true").unwrap().routes.remove(0);
    assert_eq!(
        alone.upgrade_protocols,
        [http::UpgradeProtocol::websocket()]
    );
    for (keys, error) in [
        (
            "upgrade_protocols = [\"websocket\"]",
            "needs pass_upgrades = true",
        ),
        ("pass_upgrades = true\nupgrade_protocols = []", "names none"),
        (
            "pass_upgrades = true\nupgrade_protocols = [\"websocket\", \"h2c\"]",
            "never tunnelled",
        ),
        (
            "pass_upgrades = true\nupgrade_protocols = [\"TLS/1.0\"]",
            "never tunnelled",
        ),
    ] {
        let diagnostics = route(keys).unwrap_err();
        assert!(diagnostics.to_string().contains(error), "{diagnostics}");
        assert!(diagnostics.all()[0].line.is_some(), "{diagnostics}");
    }
}
