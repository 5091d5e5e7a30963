//! The demo as a process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use super::{pwd_edge, stderr_text};

/// Runs the demo on any port and reads what it prints until the address.
fn demo() -> (Child, String) {
    let mut child = pwd_edge()
        .args(["demo", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    while !printed.contains("Stop") {
        printed.push_str(&lines.next().expect("the demo goes on").unwrap());
        printed.push('\n');
    }
    (child, printed)
}

#[test]
fn demo_prints_its_address_and_stops_on_sigterm() {
    let (mut child, printed) = demo();
    for part in [
        "https://localhost:",
        "ana / demo",
        "desk / demo",
        "curl -k",
        "curl --unix-socket",
    ] {
        assert!(printed.contains(part), "{printed}");
    }
    let status = printed
        .lines()
        .find(|line| line.contains(" status --socket "))
        .expect("the line with the status command");
    let output = Command::new("sh").args(["-c", status]).output().unwrap();
    let screen = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{screen}");
    assert!(screen.starts_with("pwd-edge 0.1.0 healthy\n"), "{screen}");
    let kill = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn demo_without_a_port_or_temp_directory_reports_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = pwd_edge().args(["demo", "--port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_text(&output).contains("choose another with --port"),
        "{}",
        stderr_text(&output)
    );
    assert!(!stderr_text(&output).contains("server.listen"));
    let deep = tempfile::tempdir().unwrap();
    let deep = deep.path().join("a".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    for directory in ["/none", deep.to_str().unwrap()] {
        let output = pwd_edge()
            .args(["demo", "--port", "0"])
            .env("TMPDIR", directory)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = stderr_text(&output);
        assert!(error.contains("set TMPDIR"), "{error}");
        assert!(!error.contains("--port"), "{error}");
    }
}
