//! The stock clients of npm's registry against the program.

use std::path::Path;
use std::process::Command;

use crate::support::Laravel;
use crate::support::program::Program;
use crate::support::pusher::{KEY, SECRET, section};
use crate::support::source::root;

#[tokio::test]
#[ignore = "needs node"]
async fn laravel_echo_works_as_with_reverb() {
    let laravel = Laravel::start().await;
    let (section, _directory) = section("");
    let edge = Program::before(&laravel.url(), &section);
    let packages = install();
    let mut node = tokio::process::Command::new("node");
    node.arg("conformance.mjs")
        .current_dir(packages.path())
        .env("NODE_EXTRA_CA_CERTS", edge.path("cert.pem"))
        .env("PORT", edge.address.port().to_string())
        .env("SOCKET", edge.path("broadcast.sock"))
        .envs([("KEY", KEY), ("SECRET", SECRET)]);
    let output = node.output().await.unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Installs the packages of the lock in a directory of their own.
fn install() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let from = root().join("tests/it/pusher/echo");
    for file in ["package.json", "package-lock.json", "conformance.mjs"] {
        std::fs::copy(from.join(file), directory.path().join(file)).unwrap();
    }
    npm_ci(directory.path());
    directory
}

fn npm_ci(directory: &Path) {
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--silent",
    ]);
    let installed = npm.current_dir(directory).status().unwrap();
    assert!(installed.success(), "npm cannot install the packages");
}
