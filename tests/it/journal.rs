//! The log under systemd: as fields in the journal, or as lines with a priority, and
//! never in the way.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::StatusCode;
use tokio::net::UnixStream;

use crate::support::Laravel;
use crate::support::http::{Client, body, get};
use crate::support::program::Home;

/// A process that does not outlive its test.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn blocked_log_reader_does_not_block_requests() {
    let laravel = Laravel::start().await;
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = site.local_addr().unwrap();
    let unlimited = "[limits]\nrequests_per_second = 1000000\nrequest_burst = 1000000\n";
    let home = Home::new(&laravel.url(), address, unlimited);
    let mut command = home.command_with(site.into(), None);
    let _child = KillOnDrop(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut client = Client::over_http1(home.connect(address, "http/1.1").await.unwrap()).await;
    // More than the pipe holds, and what waits before it.
    let mut lost = 0.0;
    while lost == 0.0 {
        for _ in 0..500 {
            let answer = client.fetch(get("/x").body(body("")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
        lost = lost_lines(&home).await;
    }
}

/// Returns the number of dropped log events.
async fn lost_lines(home: &Home) -> f64 {
    let socket = UnixStream::connect(home.path("broadcast.sock")).await;
    let mut monitoring = Client::over_http1(socket.unwrap()).await;
    let numbers = monitoring.fetch(get("/metrics").body(body("")).unwrap());
    let numbers = numbers.await;
    let name = "pwd_edge_log_events_dropped_total ";
    let found = numbers
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name));
    found.unwrap().parse().unwrap()
}

/// Standard error as the journal would be, and the journal's name for it.
fn journal_stream(home: &Home) -> (std::fs::File, String) {
    let log = std::fs::File::create(home.path("log")).unwrap();
    let journal = log.metadata().unwrap();
    let name = format!("{}:{}", journal.dev(), journal.ino());
    (log, name)
}

/// What the log says once the edge is ready.
async fn written_when_ready(home: &Home) -> String {
    loop {
        let written = std::fs::read_to_string(home.path("log")).unwrap();
        if written.contains("\"ready\"") {
            return written;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn log_lines_to_the_journal_carry_their_priority() {
    let laravel = Laravel::start().await;
    let json = "[log]\nformat = \"json\"\n";
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), json);
    // A key that others can read is warned of.
    let (log, name) = journal_stream(&home);
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]).stderr(log);
    command.env("JOURNAL_STREAM", name);
    let _child = KillOnDrop(command.spawn().unwrap());
    let written = written_when_ready(&home).await;
    for (priority, level) in [("<6>", "INFO"), ("<4>", "WARN")] {
        let mut lines = written.lines().filter(|line| line.contains(level));
        assert!(lines.all(|line| line.starts_with(priority)), "{written}");
    }
    assert!(written.contains("<6>{") && written.contains("<4>{"));
}

/// What no entry may hold.
const SECRET: &str = "hunter2";

/// Reads entries up to one with this line, and returns the value of another of
/// its lines.
fn entry(journald: &UnixDatagram, wanted: &str, key: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let mut entry = [0; 4096];
        let Ok(length) = journald.recv(&mut entry) else {
            panic!("{wanted} not in {seen:#?}");
        };
        let entry = std::str::from_utf8(&entry[..length]).unwrap();
        assert!(!entry.contains(SECRET), "{entry}");
        seen.push(entry.to_owned());
        if entry.lines().any(|line| line == wanted) {
            let value = entry.lines().find_map(|line| line.strip_prefix(key));
            return value.unwrap_or_else(|| panic!("{entry}")).to_owned();
        }
    }
}

/// The program where `/run` holds nothing but what `there` says, in words of bwrap(1).
fn without_run(home: &Home, there: &[&str]) -> Command {
    let mut command = Command::new("bwrap");
    command.args([
        "--dev-bind",
        "/",
        "/",
        "--tmpfs",
        "/run",
        "--die-with-parent",
    ]);
    command.args(there).arg("--chdir").arg(home.path(""));
    command.arg(env!("CARGO_BIN_EXE_pwd-edge"));
    command.args(["run", "--config", "config.toml"]);
    command
}

#[tokio::test]
#[ignore = "needs bubblewrap"]
async fn missing_journald_is_reported() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    let (log, name) = journal_stream(&home);
    let mut command = without_run(&home, &[]);
    command.stderr(log).env("JOURNAL_STREAM", name);
    let _child = KillOnDrop(command.spawn().unwrap());
    let written = written_when_ready(&home).await;
    let mut lines = written.lines();
    assert!(lines.any(
        |line| line.starts_with("<4>{") && line.contains("\"event\":\"journald_unreachable\"")
    ));
}

/// The test's socket stands for journald's, and then nothing reads it.
#[tokio::test]
#[ignore = "needs bubblewrap"]
async fn journal_entries_have_fields_and_never_block_requests() {
    let laravel = Laravel::start().await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let address = address.unwrap();
    let unlimited = "[limits]\nexempt = [\"127.0.0.0/8\"]\n";
    let home = Home::new(&laravel.url(), address, unlimited);
    let journald = UnixDatagram::bind(home.path("socket")).unwrap();
    let patience = Some(Duration::from_secs(10));
    journald.set_read_timeout(patience).unwrap();
    let (log, name) = journal_stream(&home);
    let mut command = without_run(
        &home,
        &[
            "--bind",
            home.path("").to_str().unwrap(),
            "/run/systemd/journal",
        ],
    );
    command.stderr(log).env("JOURNAL_STREAM", name);
    let _child = KillOnDrop(command.spawn().unwrap());

    let upstream = entry(&journald, "SYSLOG_IDENTIFIER=pwd-edge", "PRIORITY=");
    assert!(["4", "6"].contains(&upstream.as_str()));
    entry(
        &journald,
        &format!("MESSAGE=listening address={address} key=\"server.listen\""),
        "PRIORITY=6",
    );
    entry(
        &journald,
        &format!("UPSTREAM={}", laravel.url()),
        "VERSION=",
    );
    let mut client = Client::over_http1(home.connect(address, "http/1.1").await.unwrap()).await;
    let request = get(&format!("/found?token={SECRET}"))
        .header("cookie", SECRET)
        .header("authorization", format!("Bearer {SECRET}"));
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    let id = entry(&journald, "PATH=/found", "REQUEST_ID=");
    assert_eq!(answer.headers["x-request-id"], id);

    let mut lost = 0.0;
    while lost == 0.0 {
        for _ in 0..500 {
            let answer = client.fetch(get("/x").body(body("")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
        lost = lost_lines(&home).await;
    }
    assert_eq!(std::fs::read_to_string(home.path("log")).unwrap(), "");
}
