//! Faults that must not end the service: a full disk, a log reader that is gone or blocked, a
//! clock that jumps, a file with ten mistakes.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::Arc;

use hyper::StatusCode;

use crate::support::http::{Client, body, get};
use crate::support::program::{Home, Program};
use crate::support::{Edge, Laravel, Socket};

/// The binary with standard error of our own, on a port that was free just now.
struct EdgeProcess {
    home: Arc<Home>,
    address: SocketAddr,
    child: Child,
}

impl EdgeProcess {
    fn before(laravel: &Laravel, stderr: Stdio) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let home = Home::new(
            &laravel.url(),
            address,
            "[limits]\nexempt = [\"127.0.0.1\"]\n",
        );
        let mut command = home.command();
        command.args(["run", "--config", "config.toml"]);
        let child = command.stderr(stderr).spawn().unwrap();
        Self {
            home,
            address,
            child,
        }
    }

    /// Waits until it serves, then sends a thousand requests.
    async fn assert_serves(&mut self) {
        let stream = loop {
            assert_eq!(self.child.try_wait().unwrap(), None, "it has ended");
            if let Ok(stream) = self.home.connect(self.address, "h2").await {
                break stream;
            }
        };
        let mut client = Client::over_http2(stream).await;
        for _ in 0..1000 {
            let answer = client.fetch(get("/").body(body("")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
    }
}

impl Drop for EdgeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every write of the log fails with ENOSPC.
#[tokio::test]
async fn full_log_disk_does_not_stop_the_edge() {
    let laravel = Laravel::start().await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    EdgeProcess::before(&laravel, full.into())
        .assert_serves()
        .await;
}

/// The journal is gone: the other end of the pipe is closed.
#[tokio::test]
async fn closed_log_pipe_does_not_stop_the_edge() {
    let laravel = Laravel::start().await;
    let mut silent = EdgeProcess::before(&laravel, Stdio::piped());
    drop(silent.child.stderr.take());
    silent.assert_serves().await;
}

/// A year ahead, then two back: sessions and connections live by another clock.
#[tokio::test]
#[ignore = "needs faketime"]
async fn clock_jump_closes_no_connection() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), ([127, 0, 0, 1], 0).into(), "");
    let clock = home.path("clock");
    std::fs::write(&clock, "+0d").unwrap();
    let mut command = home.command();
    command
        .args(["run", "--config", "config.toml"])
        .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_TIMESTAMP_FILE", &clock);
    let program = Program::start(&home, command);
    let mut session = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    session.join(1).await;
    let mut client = program.http2().await;
    let mut years = Vec::new();
    for jump in ["+0d", "+365d", "-365d", "+0d"] {
        std::fs::write(&clock, jump).unwrap();
        assert!(session.settle().await.is_empty(), "{jump}");
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{jump}");
        let path = format!("/{jump}");
        client.fetch(get(&path).body(body("")).unwrap()).await;
        let line = program.logged(|line| line["path"] == path).await;
        years.push(
            line["timestamp"].as_str().unwrap()[..4]
                .parse::<i32>()
                .unwrap(),
        );
    }
    assert_eq!(years[1] - years[0], 1, "the clock did jump: {years:?}");
    assert_eq!(years[2] - years[0], -1, "the clock did jump: {years:?}");
}

#[tokio::test]
async fn ten_config_errors_are_reported_at_once() {
    let home = Home::new("ftp://nowhere", ([127, 0, 0, 1], 0).into(), "");
    let mistakes = "idle_timout = \"1s\"\nconnect_timeout = \"soon\"\nmax_idle_connections = 0\n\
        [http]\nmax_body_size = \"big\"\nheader_timeout = 5\n\
        [limits]\nexempt = [\"10.0.0.1/8\"]\ndry_run = [\"everything\"]\n\
        [websocket]\npaths = \"/ws\"\n[rooms]\ntyping_timeout = \"-1s\"\n";
    let path = home.path("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + mistakes).unwrap();
    let output = home.command().arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for word in [
        "ftp://nowhere",
        "idle_timout",
        "connect_timeout",
        "max_idle_connections",
        "max_body_size",
        "header_timeout",
        "10.0.0.0/8",
        "everything",
        "paths",
        "typing_timeout",
    ] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
}

/// One id: in the log, for Laravel, and for the client, whatever Laravel calls it.
#[tokio::test]
async fn request_id_reaches_log_laravel_and_client() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "[[routes]]\npath = \"/no\"\nstatus = 404\n");
    for (version, mut client) in [
        ("HTTP/1.1", program.http1().await),
        ("HTTP/2.0", program.http2().await),
    ] {
        for path in ["/followed", "/headers", "/no"] {
            let answer = client.fetch(get(path).body(body("")).unwrap()).await;
            let ids: Vec<_> = answer.headers.get_all("x-request-id").iter().collect();
            assert_eq!(ids.len(), 1, "{path}: {ids:?}");
            let id = ids[0].to_str().unwrap();
            let line = program.logged(|line| line["request.id"] == id).await;
            assert_eq!(
                (&line["path"], &line["version"]),
                (&path.into(), &version.into())
            );
            if path != "/no" {
                assert_eq!(laravel.last().header("x-request-id"), Some(id));
            }
        }
    }
}

#[tokio::test]
async fn traceparent_is_passed_unchanged_or_dropped() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut client = Client::http2(&edge).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let seen = async |client: &mut Client, parents: &[&str]| {
        let mut request = get("/").header("tracestate", "a=b");
        for parent in parents {
            request = request.header("traceparent", *parent);
        }
        client.fetch(request.body(body("")).unwrap()).await;
        let seen = laravel.last();
        let header = |name| seen.header(name).map(ToOwned::to_owned);
        (header("traceparent"), header("tracestate"))
    };
    let passed = (Some(parent.to_owned()), Some("a=b".to_owned()));
    assert_eq!(seen(&mut client, &[parent]).await, passed);
    for wrong in [&["00-mine"][..], &[parent, parent]] {
        assert_eq!(seen(&mut client, wrong).await, (None, None), "{wrong:?}");
    }
}
