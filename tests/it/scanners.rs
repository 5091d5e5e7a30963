//! What the scanners say that auditors bring. docs/TLS.md explains the rest.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{Edge, Laravel};

async fn stdout_of(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().await;
    let output = output.unwrap_or_else(|_| panic!("apt-get install {program}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs sslscan"]
async fn sslscan_finds_only_tls_1_2_and_1_3_with_strong_ciphers() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nexempt = [\"127.0.0.0/8\"]\n");
    let address = edge.address.to_string();
    let report = stdout_of("sslscan", &["--xml=-", "--no-colour", &address]).await;
    for (version, enabled) in [("1.0", 0), ("1.1", 0), ("1.2", 1), ("1.3", 1)] {
        let line = format!("type=\"tls\" version=\"{version}\" enabled=\"{enabled}\"");
        assert!(report.contains(&line), "{line} is missing: {report}");
    }
    let ciphers: Vec<_> = report
        .lines()
        .filter(|line| line.contains("<cipher "))
        .collect();
    assert!(ciphers.len() >= 6, "{report}");
    for cipher in ciphers {
        let is_aead = cipher.contains("GCM") || cipher.contains("CHACHA20");
        // Those of 1.3 are "acceptable" to it, those of 1.2 "strong".
        assert!(is_aead && !cipher.contains("weak"), "{cipher}");
    }
    assert!(
        report.contains("<renegotiation supported=\"0\""),
        "{report}"
    );
    assert!(!report.contains("<compression supported=\"1\""), "{report}");
    assert!(!report.contains("vulnerable=\"1\""), "{report}");
}

/// Protocols, ciphers and every attack that it knows.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs testssl.sh"]
async fn testssl_finds_no_vulnerability() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nexempt = [\"127.0.0.0/8\"]\n");
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("found.json").display().to_string();
    let address = edge.address.to_string();
    let report = stdout_of(
        "testssl",
        &[
            "--quiet",
            "--warnings",
            "batch",
            "--color",
            "0",
            "--ip",
            "one",
            "-p",
            "-s",
            "-U",
            "--jsonfile",
            &json,
            &address,
        ],
    )
    .await;
    let found = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("{report}"));
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    assert!(found.len() > 25, "{report}");
    // What it says of the OpenSSL that it runs on is not about the edge.
    let own = |one: &&Value| one["id"] == "engine_problem";
    let harmless =
        |one: &&Value| matches!(one["severity"].as_str().unwrap(), "OK" | "INFO" | "LOW");
    let bad = found.iter().filter(|one| !own(one) && !harmless(one));
    let bad: Vec<_> = bad.collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let finding = |id: &str| {
        let one = found.iter().find(|one| one["id"] == id);
        one.unwrap_or_else(|| panic!("{id}: {report}"))["finding"]
            .as_str()
            .unwrap()
    };
    assert!(finding("TLS1_2").contains("offered") && finding("TLS1_3").contains("offered"));
    assert!(finding("TLS1").contains("not offered") && finding("SSLv3").contains("not offered"));
    assert!(finding("heartbleed").contains("not vulnerable"), "{report}");
}
