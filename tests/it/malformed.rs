//! Requests that are malformed, or that two servers could read in two ways, byte by byte. The
//! edge rejects each and closes its connection, or forwards it in the one form that all
//! servers read alike. The app of these tests parses as little HTTP as it can.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::framing::{chunks, codings, lengths};
use self::head::{headers, hosts, lines, request_lines};
use crate::support::Edge;
use crate::support::app::scripted;
use crate::support::http::connect;

mod framing;
mod head;
mod http2;

/// The expected result of a request.
#[derive(Clone)]
enum Expected {
    /// Rejected with this status: the app gets no request, the edge closes the connection, and
    /// serves no request behind it.
    Rejected(u16),
    /// Not HTTP/1.1 at all: closed without a response.
    Closed,
    /// It reaches the app once, with all of the first and none of the second.
    Passed(&'static [&'static str], &'static [&'static str]),
}
use Expected::{Closed, Passed, Rejected};

/// Every request that the app saw, as bytes.
#[derive(Clone, Default)]
struct RecordingApp(Arc<Mutex<Vec<String>>>);

impl RecordingApp {
    /// An app that answers `ok` to everything, once for each connection.
    async fn start(&self) -> String {
        let record = self.clone();
        scripted(move |_, mut stream| {
            let record = record.clone();
            async move {
                let request = whole_request(&mut stream).await;
                if !request.is_empty() {
                    record.0.lock().push(request);
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Reads as much as a server must that believes the first length it finds.
async fn whole_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("\r\ncontent-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
            let chunked = head.contains("\r\ntransfer-encoding: chunked");
            let done = match (length, chunked) {
                (Some(length), _) => rest.len() >= length,
                (None, true) => rest.contains("0\r\n") && rest.ends_with("\r\n\r\n"),
                (None, false) => true,
            };
            if done {
                return text;
            }
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

/// Sends `bytes` and a sound request behind them; returns the statuses that came
/// back until the connection ended.
async fn exchange(edge: &Edge, bytes: &[u8]) -> Vec<u16> {
    let mut stream = connect(edge, "http/1.1").await.unwrap();
    let _ = stream.write_all(&[bytes, AFTER.as_bytes()].concat()).await;
    let mut answer = Vec::new();
    // A connection that is reset was closed with bytes unread: closed all the same.
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), reading).await;
    assert!(
        read.is_ok(),
        "it stayed open: {}",
        String::from_utf8_lossy(bytes)
    );
    let text = String::from_utf8_lossy(&answer);
    let lines = text.split("HTTP/1.").skip(1);
    let statuses = lines.map(|line| line[2..5].parse().unwrap());
    // An interim answer is no answer.
    statuses.filter(|status| *status != 100).collect()
}

const AFTER: &str = "GET /after HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A GET with more header lines.
fn with(lines: &str) -> Vec<u8> {
    format!("GET /row HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

/// A POST with more header lines and a body.
fn posted(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /row HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}").into_bytes()
}

fn target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

fn host(lines: &str) -> Vec<u8> {
    format!("GET /row HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: localhost\r\n\r\n").into_bytes()
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[tokio::test]
async fn malformed_request_is_rejected_or_normalized() {
    let record = RecordingApp::default();
    let limits = "[limits]\nexempt = [\"127.0.0.0/8\"]\n";
    let edge = Edge::configured(&record.start().await, limits);
    let rows = [
        lengths(),
        codings(),
        chunks(),
        lines(),
        request_lines(),
        hosts(),
        headers(),
    ];
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    assert!(rows.len() >= 110, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (bytes, becomes) in rows {
        let statuses = exchange(&edge, &bytes).await;
        let saw = record.take();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        if !becomes.is_met_by(&statuses, &saw) {
            wrong.push(format!(
                "{shown:?}\n  came back: {statuses:?}\n  the app saw: {saw:#?}"
            ));
        }
        // Other connections work.
        assert_eq!(exchange(&edge, b"").await, [200], "after {shown:?}");
        assert_eq!(record.take().len(), 1, "after {shown:?}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

impl Expected {
    fn is_met_by(&self, statuses: &[u16], saw: &[String]) -> bool {
        match self {
            Rejected(status) => statuses == [*status] && saw.is_empty(),
            Closed => statuses.is_empty() && saw.is_empty(),
            Passed(parts, missing) => {
                let after = |one: &&String| one.starts_with("GET /after ");
                statuses.first() == Some(&200)
                    && saw.first().is_some_and(|request| {
                        parts.iter().all(|part| request.contains(part))
                            && !missing.iter().any(|part| request.contains(part))
                    })
                    && saw.iter().skip(1).all(|one| after(&one))
            }
        }
    }
}

/// A body that turns out broken on its way: the app must never take what it got
/// for the whole, and no answer of the app's is passed on for it.
#[tokio::test]
async fn malformed_chunked_body_never_looks_complete() {
    let record = RecordingApp::default();
    let edge = Edge::configured(&record.start().await, "");
    for broken in [
        "-1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "g\r\na\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1 a\r\na\r\n0\r\n\r\n",
        "\r\n1\r\na\r\n0\r\n\r\n",
    ] {
        let statuses = exchange(&edge, &posted(CHUNKED, broken)).await;
        assert!(!statuses.contains(&200), "{broken:?}: {statuses:?}");
        for request in record.take() {
            assert!(!request.ends_with("0\r\n\r\n"), "{broken:?}: {request}");
        }
    }
}
