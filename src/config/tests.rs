//! Tests of reading configurations.

mod guards;
mod lists;
mod misplaced;
mod renamed;
mod values;

use super::*;

fn diagnostics(text: &str) -> Vec<(Option<usize>, String)> {
    let diagnostics = Config::from_toml(text).expect_err("has mistakes");
    let all = diagnostics.all().iter();
    all.map(|diagnostic| (diagnostic.line, diagnostic.message.clone()))
        .collect()
}

#[test]
fn empty_file_gives_all_defaults() {
    let config = Config::from_toml("").unwrap();
    assert_eq!(config.server.listen, ["[::]:443".parse().unwrap()]);
}

/// The file at the top of the repository shows every key with its default.
#[test]
fn example_file_shows_the_defaults() {
    let example = include_str!("../../config.toml");
    let written = Config::from_toml(example).expect("the example has no mistakes");
    let expected = Config::default();
    assert_eq!(format!("{written:#?}"), format!("{expected:#?}"));
}

#[test]
fn php_fpm_without_root_or_buffer_or_with_tunnel_is_rejected() {
    let fpm = "[upstream]\nurl = \"fastcgi://127.0.0.1:9000\"\n";
    let well = format!("{fpm}root = \"/srv/app/public\"\n");
    Config::from_toml(&well).unwrap();
    for (text, wanted) in [
        (fpm.to_owned(), "needs the path of the app"),
        (
            "[upstream]\nroot = \"/srv\"\n".to_owned(),
            "root is for php-fpm",
        ),
        (
            format!("{well}disk_buffer_size = \"127 MiB\"\n"),
            "disk_buffer_size must be four times",
        ),
        (
            format!("{well}[[routes]]\npath = \"/a\"\nmax_body_size = \"257 MiB\"\n"),
            "disk_buffer_size must be four times",
        ),
        (
            format!("{well}[websocket.uploads]\nmax_size = \"257 MiB\"\n"),
            "disk_buffer_size must be four times",
        ),
        (
            format!("{well}[http]\nmax_header_size = \"61 KiB\"\n"),
            "max_header_size",
        ),
        (
            format!("{well}[[routes]]\npath = \"/a\"\npass_upgrades = true\n"),
            "php-fpm takes no upgrades",
        ),
    ] {
        let found = diagnostics(&text);
        assert!(
            found.len() == 1 && found[0].1.contains(wanted),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn php_fpm_root_becomes_an_absolute_path() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let file = directory.path().join("config.toml");
    let text = "[upstream]\nurl = \"fastcgi://127.0.0.1:9000\"\nroot = \"public\"\n";
    std::fs::write(&file, text).unwrap();
    // As `--config config.toml` names it.
    let file = Path::new(directory.path().file_name().unwrap()).join("config.toml");
    let root = Config::load(&file).unwrap().upstream.root.unwrap();
    assert!(
        root.is_absolute() && root.ends_with(file.with_file_name("public")),
        "{root:?}"
    );
}

#[test]
fn site_example_is_valid_and_short() {
    let site = include_str!("../../docs/pwd-site.toml");
    Config::from_toml(site).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(site.lines().count() <= 45);
}

#[test]
fn example_file_shows_every_key() {
    let example = include_str!("../../config.toml");
    let shown = |key: &str| {
        let (assigned, section) = (format!("{key} ="), format!("[{key}]"));
        let (inner, outer) = (format!(".{key}]"), format!("[{key}."));
        let listed = format!("[[{key}]]");
        example.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&assigned)
                || line.starts_with(&section)
                || line.ends_with(&inner)
                || line.starts_with(&outer)
                || line.starts_with(&listed)
        })
    };
    let keys = format!("{:#?}", Config::default());
    for line in keys.lines() {
        let Some((key, _)) = line.trim().split_once(": ") else {
            continue;
        };
        // Fields of the values themselves, not keys of the file.
        if ![
            "before",
            "after",
            "networks",
            "cloudflare",
            "protocol",
            "address",
        ]
        .contains(&key)
        {
            assert!(shown(key), "{key} is not in config.toml");
        }
    }
}

#[test]
fn config_errors_are_all_reported_with_their_lines() {
    let text = r#"
[server]
lisen = ["[::]:443"]
shutdown_timeout = "soon"
[tls]
handshake_timeout = 10
[upstream]
url = "https://app"
[limits]
max_connections = 0
[wbsocket]
paths = ["/"]
"#;
    let found = diagnostics(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
    assert_eq!(lines, [3, 4, 6, 8, 10, 11], "{found:#?}");
    assert_eq!(found[0].1, "unknown key `lisen`; did you mean `listen`?");
    assert!(
        found[1].1.contains(r#"expected a time such as "500ms""#),
        "{found:#?}"
    );
    assert!(
        found[2].1.contains(r#"expected a time such as "500ms""#),
        "{found:#?}"
    );
    assert!(
        found[3].1.contains(r#"expected "http://127.0.0.1:8000""#),
        "{found:#?}"
    );
    assert!(
        found[5].1.contains("did you mean `websocket`?"),
        "{found:#?}"
    );
}

#[test]
fn config_error_shows_its_line_with_a_marker() {
    let text = "[server]\nworker_threads = \"many\"\n";
    let shown = Config::from_toml(text).unwrap_err().to_string();
    let expected = "config.toml:2:18: invalid type: string \"many\", expected a whole number from 0 to 1024\n   |\n 2 | worker_threads = \"many\"\n   |                  ^^^^^^";
    assert_eq!(shown, expected);
}

#[test]
fn violated_rule_across_keys_names_the_written_key() {
    let found = diagnostics("[http]\nstream_idle_timeout = \"10s\"\n");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, Some(2));
    assert!(
        found[0]
            .1
            .starts_with("http.stream_idle_timeout must be longer than upstream.response_timeout")
    );
    let found = diagnostics("[upstream]\nresponse_timeout = \"5m\"\n");
    assert_eq!(found[0].0, Some(2), "the one that is written");
}

#[test]
fn rule_violations_are_reported_along_with_other_errors() {
    let text = "[limits]\nmax_connections = 5\nrequest_burst = 0\n";
    let lines: Vec<_> = diagnostics(text)
        .iter()
        .map(|(line, _)| line.unwrap())
        .collect();
    assert_eq!(lines, [2, 3]);
    let text = "[http]\nstream_idle_timeout = \"10s\"\n[upstream]\nresponse_timeout = \"soon\"\n";
    let lines: Vec<_> = diagnostics(text)
        .iter()
        .map(|(line, _)| line.unwrap())
        .collect();
    assert_eq!(lines, [4], "who knows what was meant");
}

#[test]
fn relative_path_resolves_from_the_config_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    let text = r#"
[tls]
certificate = "a.pem"
key = "/b.pem"
[maintenance]
page = "m.html"
[[routes]]
files = "public"
upstream = "laravel"
allowed_symlink_targets = ["/c", "d"]
sendfile = { "/protected" = "private" }
"#;
    std::fs::write(&path, text).unwrap();
    let mut config = Config::load(&path).unwrap();
    let page = config.maintenance.page.take();
    assert_eq!(page, Some(dir.path().join("m.html")));
    let paths: Vec<_> = config.routes[0]
        .paths_mut()
        .map(|path| path.clone())
        .collect();
    let at = |name: &str| dir.path().join(name);
    assert_eq!(paths, [at("public"), "/c".into(), at("d"), at("private")]);
    assert_eq!(config.tls.certificate, dir.path().join("a.pem"));
    assert_eq!(config.tls.key, Path::new("/b.pem"));
}

#[test]
fn route_to_files_that_include_a_private_key_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    for (files, is_well) in [
        (".", false),
        ("..", false),
        ("/", false),
        ("certs", false),
        ("public/../certs", false),
        ("link", false),
        ("public", true),
        ("cert", true),
    ] {
        for name in ["certs", "public"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let _ = std::os::unix::fs::symlink(".", dir.path().join("link"));
        std::fs::write(dir.path().join("certs/privkey.pem"), "").unwrap();
        for route in [
            format!("files = \"{files}\""),
            format!("sendfile = {{ \"/a\" = \"{files}\" }}"),
        ] {
            std::fs::write(&path, format!("[[routes]]\n{route}\n")).unwrap();
            let config = Config::load(&path);
            assert_eq!(config.is_ok(), is_well, "{route}");
            if let Err(error) = config {
                assert!(error.to_string().contains("privkey.pem"), "{error}");
            }
        }
    }
}

/// The lines about routes in the example are comments, so that nothing leads
/// astray; their keys exist all the same.
#[test]
fn example_file_names_the_keys_of_a_route() {
    let example = include_str!("../../config.toml");
    let keys = example
        .lines()
        .skip_while(|line| *line != "# [[routes]]")
        .skip(1);
    // A comment that continues on the next line is prose, and no key.
    let keys = keys.map_while(|line| line.strip_prefix('#'));
    let keys = keys
        .filter_map(|line| line.strip_prefix(' '))
        .filter(|line| !line.starts_with(' '));
    let mut tried = 0;
    for key in keys {
        let beside = match key.split(' ').next().unwrap() {
            "request_burst" => "requests_per_minute = 30",
            "upgrade_protocols" => "pass_upgrades = true",
            "fallback" | "allowed_symlink_targets" => "files = \"public\"",
            _ => "",
        };
        let needs = if key.starts_with("require_client_certificate") {
            "[tls.client_auth]\nmode = \"optional\"\n"
        } else {
            ""
        };
        let text = format!(
            "{needs}[upstreams.vite]\nurl = \"http://127.0.0.1:5173\"\n[[routes]]\n{key}\n{beside}\n"
        );
        Config::from_toml(&text).unwrap_or_else(|wrong| panic!("{wrong}"));
        tried += 1;
    }
    assert_eq!(tried, 15);
}

#[test]
fn route_errors_are_reported_with_their_lines() {
    let text = r#"
[[routes]]
path = "/a"
upstream = "vit"
[[routes]]
path = "/b/%61"
status = 404
[[routes]]
path = "/c"
pas_upgrades = true
[[routes]]
path = "/a/b"
status = 403
[[routes]]
require_client_certificate = true
[upstreams.vite]
url = "http://127.0.0.1:5173"
response_timeout = "10m"
"#;
    let found = diagnostics(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [4, 6, 10, 12, 15, 18].map(Some), "{found:#?}");
    assert!(found[0].1.contains("[upstreams.vit]"), "{found:#?}");
    assert!(
        found[2].1.contains("did you mean `pass_upgrades`?"),
        "{found:#?}"
    );
    assert!(found[3].1.contains("never reached"), "{found:#?}");
    assert!(found[4].1.contains("tls.client_auth.mode"), "{found:#?}");
    let two = diagnostics("[[routes]]\nstatus = 404\nredirect = \"https://a\"\n");
    assert!(two[0].1.contains("one of upstream, files"), "{two:#?}");
}

#[test]
fn errors_in_file_settings_are_reported() {
    let route = |keys: &str| diagnostics(&format!("[[routes]]\n{keys}\n")).remove(0).1;
    for (keys, found) in [
        ("fallback = \"index.html\"", "need files"),
        ("allowed_symlink_targets = [\"/a\"]", "need files"),
        ("files = \"a\"\nfallback = \"../b\"", "not a file's name"),
        (
            "files = \"a\"\nfallback = \"b\"\nupstream = \"laravel\"",
            "fallback or an upstream",
        ),
        (
            "files = \"a\"\nredirect = \"https://a\"",
            "one of upstream, files",
        ),
        (
            "files = \"a\"\npass_upgrades = true",
            "need a route to an upstream",
        ),
        ("files = \"a\"\nupstream = \"php\"", "[upstreams.php]"),
        ("files = \"\"", "must name directories"),
        (
            "status = 404\nsendfile = { \"/a\" = \"b\" }",
            "needs a route to an upstream",
        ),
        ("sendfile = { \"/a\" = \"\" }", "must name a directory"),
        ("sendfile = { \"/a/*\" = \"b\" }", "pattern"),
        (
            "files = \"a\"\nallowed_symlink_targets = [\"\"]",
            "must name directories",
        ),
    ] {
        let message = route(keys);
        assert!(message.contains(found), "{keys}: {message}");
    }
    let closed = diagnostics("[maintenance]\npage = \"\"\n");
    assert!(closed[0].1.contains("must name a file"), "{closed:#?}");
    let taken = diagnostics("[upstreams.laravel]\nurl = \"http://127.0.0.1:1\"\n");
    assert!(taken[0].1.contains("the name of [upstream]"), "{taken:#?}");
}
