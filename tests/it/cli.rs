//! The binary itself: its output and its exit codes.

mod demo;

use std::path::Path;
use std::process::{Command, Output};

fn pwd_edge() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pwd-edge"))
}

fn with_config(verb: &str, text: &str) -> (tempfile::TempDir, Output) {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), text);
    let output = pwd_edge()
        .args([verb, "--config", &config])
        .output()
        .unwrap();
    (directory, output)
}

/// Writes a configuration that needs no directory of the system.
fn write(directory: &Path, text: &str) -> String {
    let path = directory.join("config.toml");
    std::fs::write(
        &path,
        format!("{text}\n[history]\ndirectory = \"history\"\n"),
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

fn write_certificate(directory: &Path) {
    std::fs::create_dir_all(directory.join("certs")).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("certs/fullchain.pem"), made.cert.pem()).unwrap();
    std::fs::write(
        directory.join("certs/privkey.pem"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
}

fn stderr_text(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_command_line_exits_with_64() {
    for arguments in [
        &[][..],
        &["--no-such-option"],
        &["dance"],
        &["run", "extra"],
        &["demo", "--port", "many"],
        &["room", "ticket", "0"],
        &["explain", "--user", "5"],
        &["publish", "--ticket", "1", "--type", "x", "--payload", "7"],
    ] {
        let output = pwd_edge().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn request_for_help_or_the_version_succeeds() {
    for arguments in [&["--help"][..], &["help", "status"], &["--version"]] {
        let output = pwd_edge().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_reports_all_config_errors_at_once() {
    let (_directory, output) = with_config("check", "[server]\nlisen = []\n[upstream]\nurl = 7\n");
    assert_eq!(output.status.code(), Some(64));
    let stderr = stderr_text(&output);
    assert!(
        stderr.contains("config.toml:2:1: unknown key `lisen`; did you mean `listen`?"),
        "{stderr}"
    );
    assert!(stderr.contains("config.toml:4:7:"), "{stderr}");
}

/// A broken rule between keys, a missing certificate and a missing CA are three mistakes.
#[test]
fn check_reports_broken_rules_and_unusable_files_at_once() {
    let more = "[websocket]\nping_interval = \"2m\"\n[tls.acme]\ndomains = [\"desk.example\"]\n\
                terms_of_service_agreed = true\nchallenge = \"tls-alpn-01\"\nstorage = \"state\"\n\
                directory_ca_file = \"none.pem\"\n[[tls.certificates]]\ncertificate = \"gone.pem\"\n\
                key = \"gone.key\"\n";
    let (_directory, output) = with_config("check", more);
    assert_eq!(output.status.code(), Some(64));
    let stderr = stderr_text(&output);
    for part in [
        "websocket.pong_timeout must be longer",
        "gone.pem ([[tls.certificates]] no. 1, certificate)",
        "none.pem (tls.acme.directory_ca_file)",
    ] {
        assert_eq!(stderr.matches(part).count(), 1, "{stderr}");
    }
}

/// The edge would take a client of its own protocol on `/ws` for a Pusher client.
#[test]
fn pusher_path_above_a_websocket_path_is_rejected() {
    for (paths, is_valid) in [("/", false), ("/ws", false), ("/ws/app", true)] {
        let (section, _secret) =
            crate::support::pusher::section(&format!("paths = [\"{paths}\"]\n"));
        let (_directory, output) = with_config("check", &section);
        let stderr = stderr_text(&output);
        let is_rejected = stderr.contains("must not be above or among websocket.paths");
        assert_eq!(!is_rejected, is_valid, "{paths}: {stderr}");
    }
}

/// They need a user only as long as the Pusher protocol is off.
#[test]
fn check_says_that_public_channels_are_open_with_pusher() {
    let (section, _secret) = crate::support::pusher::section("");
    for (more, is_open) in [("", false), (&*section, true)] {
        let directory = tempfile::tempdir().unwrap();
        write_certificate(directory.path());
        let config = write(directory.path(), more);
        let check = pwd_edge()
            .args(["check", "--config", &config])
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(0), "{}", stderr_text(&check));
        let printed = String::from_utf8(check.stdout).unwrap();
        let line = "  public channels   open to everybody who knows this key";
        assert_eq!(printed.contains(line), is_open, "{printed}");
    }
}

/// A user who may choose the id `desk` must not get `private-desk`.
#[test]
fn user_channel_that_fits_each_private_channel_is_rejected() {
    for (name, is_valid) in [("private-{id}", false), ("private-user.{id}", true)] {
        let (_directory, output) =
            with_config("check", &format!("[auth]\nuser_channel = \"{name}\"\n"));
        let stderr = stderr_text(&output);
        let is_rejected = stderr.contains("makes each private channel the own channel");
        assert_eq!(!is_rejected, is_valid, "{name}: {stderr}");
    }
}

#[test]
fn check_lists_all_listeners() {
    let directory = tempfile::tempdir().unwrap();
    write_certificate(directory.path());
    let config = write(
        directory.path(),
        "[server]\nlisten = [\"127.0.0.1:8443\"]\nredirect_listen = [\"127.0.0.1:8080\"]\n\
         [admin]\nlisten = [\"127.0.0.1:9180\"]\n",
    );
    let check = pwd_edge()
        .args(["check", "--config", &config])
        .output()
        .unwrap();
    let printed = String::from_utf8(check.stdout).unwrap();
    for line in [
        "  listeners         127.0.0.1:8443\n",
        "  redirect          127.0.0.1:8080\n",
        "  admin             127.0.0.1:9180\n",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
}

#[test]
fn address_as_an_acme_domain_is_rejected_with_the_reason() {
    for address in ["192.0.2.1", "2001:db8::1", "[2001:db8::1]"] {
        let more = format!("[tls.acme]\ndomains = [\"{address}\"]\n");
        let (_directory, output) = with_config("check", &more);
        assert_eq!(output.status.code(), Some(64));
        let stderr = stderr_text(&output);
        assert!(stderr.contains("is an IP address"), "{stderr}");
    }
}

#[test]
fn check_of_a_good_file_says_that_it_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    write_certificate(directory.path());
    let config = write(directory.path(), "");
    let output = pwd_edge()
        .args(["check", "--config", &config])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("config.toml is valid\n")
    );
}

#[test]
fn missing_config_file_is_named() {
    let output = pwd_edge()
        .args(["check", "--config", "/none/c.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr_text(&output).contains("/none/c.toml"));
}

#[test]
fn missing_certificate_is_named_with_its_key_and_a_cure() {
    for verb in ["check", "run"] {
        let more = "[server]\nlisten = [\"127.0.0.1:0\"]\n[broadcast]\nsocket = \"b.sock\"\n";
        let (directory, output) = with_config(verb, more);
        assert_eq!(output.status.code(), Some(64), "{verb}");
        assert!(!directory.path().join("b.sock").exists(), "{verb}");
        let stderr = stderr_text(&output);
        assert!(
            stderr.contains("certs/fullchain.pem (tls.certificate)"),
            "{stderr}"
        );
        assert!(
            stderr.contains("put it there, or correct the path"),
            "{stderr}"
        );
        assert_eq!(
            stderr.matches("No such file or directory").count(),
            1,
            "{stderr}"
        );
    }
}

#[test]
fn listen_errors_are_all_reported_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    let more = format!(
        "[server]\nlisten = [\"{}\", \"192.0.2.1:1\"]\n[broadcast]\nsocket = \"none/b.sock\"\n",
        taken.0
    );
    let (directory, output) = with_config("run", &more);
    assert_eq!(output.status.code(), Some(1));
    let stderr = stderr_text(&output);
    let file = format!("{}: ", directory.path().join("config.toml").display());
    let named = stderr.lines().filter(|line| line.starts_with(&file));
    assert_eq!(named.count(), 3, "{stderr}");
    let pid = format!("(process {})", std::process::id());
    for part in [
        &*taken.0.to_string(),
        &*pid,
        "192.0.2.1:1",
        "this machine has no such address",
        "RuntimeDirectory=pwd-edge",
    ] {
        assert!(stderr.contains(part), "{part} is missing: {stderr}");
    }
}

#[test]
fn occupied_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = format!("[server]\nlisten = [\"{address}\"]\n[broadcast]\nsocket = \"b.sock\"\n");
    let (directory, output) = with_config("run", &more);
    assert_eq!(output.status.code(), Some(1));
    assert!(!directory.path().join("b.sock").exists());
    let stderr = stderr_text(&output);
    assert!(
        stderr.contains(&address.to_string()) && stderr.contains("another program has this port"),
        "{stderr}"
    );
    assert_eq!(
        stderr.matches("Address already in use").count(),
        1,
        "{stderr}"
    );
}

fn check(directory: &Path, text: &str) -> Output {
    let config = write(directory, text);
    pwd_edge()
        .args(["check", "--config", &config])
        .output()
        .unwrap()
}

#[test]
fn host_without_a_certificate_is_reported_with_known_names() {
    let directory = tempfile::tempdir().unwrap();
    write_certificate(directory.path());
    let output = check(
        directory.path(),
        "[tls]\nhosts = [\"localhost\", \"desk.example\"]\n",
    );
    assert_eq!(output.status.code(), Some(64));
    let stderr = stderr_text(&output);
    assert!(
        stderr.contains("no certificate is for desk.example") && stderr.contains("localhost"),
        "{stderr}"
    );
}

#[test]
fn invalid_pair_of_several_is_named_by_its_position() {
    let directory = tempfile::tempdir().unwrap();
    write_certificate(directory.path());
    let text =
        "[[tls.certificates]]\ncertificate = \"certs/fullchain.pem\"\nkey = \"certs/none.pem\"\n";
    let output = check(directory.path(), text);
    assert_eq!(output.status.code(), Some(64));
    let stderr = stderr_text(&output);
    assert!(
        stderr.contains("none.pem ([[tls.certificates]] no. 1, key)"),
        "{stderr}"
    );
}

#[test]
fn check_rejects_unusable_files_and_creates_none() {
    let directory = tempfile::tempdir().unwrap();
    write_certificate(directory.path());
    std::fs::write(directory.path().join("file"), "").unwrap();
    let acme = "[server]\nredirect_listen = [\"[::]:80\"]\n[tls.acme]\n\
                domains = [\"desk.example\"]\nterms_of_service_agreed = true\n\
                self_signed_fallback = true\n";
    let external = "storage = \"new/acme\"\n\
                    external_account = { id = \"a\", key_file = \"none.key\" }\n";
    for (text, cause) in [
        (
            "[http]\nerror_pages = \"none\"\n".to_owned(),
            "/none (http.error_pages); name a directory",
        ),
        (
            format!("{acme}storage = \"file/acme\"\n"),
            "(tls.acme.storage); let the user that runs pwd-edge write",
        ),
        (
            format!("{acme}{external}"),
            "none.key (tls.acme.external_account.key_file)",
        ),
    ] {
        let output = check(directory.path(), &text);
        let error = stderr_text(&output);
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.contains(cause), "{error}");
    }
    let valid = format!("{acme}storage = \"new/acme\"\n");
    let output = check(directory.path(), &valid);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
    assert!(!directory.path().join("new").exists());
}

#[test]
fn acme_without_terms_or_port_80_is_rejected() {
    let text = "[tls.acme]\ndomains = [\"desk.example\"]\n";
    let (_directory, output) = with_config("check", text);
    let told_so = stderr_text(&output);
    assert!(
        told_so.contains("tls.acme.terms_of_service_agreed must be true"),
        "{told_so}"
    );
    assert!(
        told_so.contains("server.redirect_listen must have port 80"),
        "{told_so}"
    );
    let (_directory, output) = with_config("check", "[tls.acme]\ndomains = [\"*.example\"]\n");
    assert!(stderr_text(&output).contains("which only a change in the DNS proves"));
}
