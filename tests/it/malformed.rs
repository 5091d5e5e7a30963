//! Requests that are malformed, or that two servers could read in two ways, byte by byte. The
//! edge rejects each and closes its connection, or forwards it in the one form that all
//! servers read alike. The app of these tests parses as little HTTP as it can.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Edge;
use crate::support::app::scripted;
use crate::support::http::connect;

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

/// Lengths (RFC 9112 §6.3, RFC 9110 §8.6).
fn lengths() -> Vec<(Vec<u8>, Expected)> {
    vec![
        (
            posted("Content-Length: 2\r\n", "ab"),
            Passed(&["content-length: 2\r\n", "\r\n\r\nab"], &[]),
        ),
        (
            posted("Content-Length: 2\r\nContent-Length: 3\r\n", "abc"),
            Rejected(400),
        ),
        // Two equal values count as one.
        (
            posted("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"),
            Passed(
                &["content-length: 2\r\n"],
                &["content-length: 2\r\ncontent-length", "2, 2"],
            ),
        ),
        (posted("Content-Length: 2, 2\r\n", "ab"), Rejected(400)),
        (posted("Content-Length: 2, 3\r\n", "abc"), Rejected(400)),
        (posted("Content-Length: +2\r\n", "ab"), Rejected(400)),
        (posted("Content-Length: -2\r\n", "ab"), Rejected(400)),
        (posted("Content-Length: 0x2\r\n", "ab"), Rejected(400)),
        (posted("Content-Length: 2 2\r\n", "ab"), Rejected(400)),
        (posted("Content-Length: \r\n", ""), Rejected(400)),
        (posted("Content-Length: two\r\n", "ab"), Rejected(400)),
        (
            posted("Content-Length: 99999999999999999999999\r\n", "ab"),
            Rejected(400),
        ),
        (posted("Content-Length: 1e1\r\n", "ab"), Rejected(400)),
        (posted("Content-Length : 2\r\n", "ab"), Rejected(400)),
        (posted("Content-Length: 33554433\r\n", "ab"), Rejected(413)),
    ]
}

/// Transfer codings (RFC 9112 §6.1, §7).
fn codings() -> Vec<(Vec<u8>, Expected)> {
    let one = "1\r\na\r\n0\r\n\r\n";
    let rows = CODINGS.iter().cloned();
    rows.map(|(lines, expected)| (posted(lines, one), expected))
        .chain([
            (
                posted("Transfer_Encoding: chunked\r\nContent-Length: 1\r\n", "a"),
                Passed(&["content-length: 1\r\n"], &["ransfer"]),
            ),
            (
                format!("POST /row HTTP/1.0\r\nHost: localhost\r\n{CHUNKED}\r\n{one}").into_bytes(),
                Rejected(400),
            ),
        ])
        .collect()
}

/// Headers with a transfer coding, before a body of one chunk.
const CODINGS: &[(&str, Expected)] = &[
    (
        CHUNKED,
        Passed(
            &["transfer-encoding: chunked\r\n", "1\r\na\r\n0\r\n"],
            &["content-length"],
        ),
    ),
    (
        "Transfer-Encoding: Chunked\r\n",
        Passed(&["transfer-encoding: chunked\r\n"], &["Chunked"]),
    ),
    // Both: the length is dropped and the connection ends (RFC 9112 §6.3).
    (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        Passed(
            &["transfer-encoding: chunked\r\n", "1\r\na\r\n0\r\n"],
            &["content-length"],
        ),
    ),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        Passed(
            &["transfer-encoding: chunked\r\n", "1\r\na\r\n0\r\n"],
            &["content-length"],
        ),
    ),
    ("Transfer-Encoding: gzip, chunked\r\n", Rejected(400)),
    ("Transfer-Encoding: chunked, chunked\r\n", Rejected(400)),
    ("Transfer-Encoding: chunked, gzip\r\n", Rejected(400)),
    ("Transfer-Encoding: gzip\r\n", Rejected(400)),
    ("Transfer-Encoding: identity\r\n", Rejected(400)),
    ("Transfer-Encoding: xchunked\r\n", Rejected(400)),
    ("Transfer-Encoding: \"chunked\"\r\n", Rejected(400)),
    ("Transfer-Encoding: \r\n", Rejected(400)),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        Rejected(400),
    ),
    (
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        Rejected(400),
    ),
    ("Transfer-Encoding : chunked\r\n", Rejected(400)),
    ("Transfer-Encoding: chunked;q=1\r\n", Rejected(400)),
];

/// Chunks (RFC 9112 §7.1). A head that is sound has reached the app by the time
/// a chunk turns out broken; then the app sees a request that never ends, and
/// no status of the app's is passed off as an answer to it.
fn chunks() -> Vec<(Vec<u8>, Expected)> {
    vec![
        (
            posted(CHUNKED, "1;name=value\r\na\r\n0\r\n\r\n"),
            Passed(&["1\r\na\r\n0\r\n"], &["name"]),
        ),
        (
            posted(CHUNKED, "01\r\na\r\n0\r\n\r\n"),
            Passed(&["1\r\na\r\n0\r\n"], &["01\r\n"]),
        ),
        (
            posted(CHUNKED, "0\r\n\r\n"),
            Passed(&[], &["content-length: 1"]),
        ),
        (
            posted(
                CHUNKED,
                "1\r\na\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 9\r\n\r\n",
            ),
            Passed(
                &["1\r\na\r\n0\r\n"],
                &["6.6.6.6", "Content-Length", "content-length"],
            ),
        ),
    ]
}

/// Lines and names (RFC 9112 §2.2, §5.1, §5.2).
fn lines() -> Vec<(Vec<u8>, Expected)> {
    vec![
        (with("X-Row : v\r\n"), Rejected(400)),
        (with("X-Row\t: v\r\n"), Rejected(400)),
        (with(" X-Row: v\r\n"), Rejected(400)),
        (with("X-Row: a\r\n b\r\n"), Rejected(400)),
        (with("X-Row: a\r\n\tb\r\n"), Rejected(400)),
        (with("X-Row: a\rb\r\n"), Rejected(400)),
        (with("X-Row: a\0b\r\n"), Rejected(400)),
        (with("X-Row: a\x01b\r\n"), Rejected(400)),
        (with("X-Row: a\x7fb\r\n"), Rejected(400)),
        (with("X-Row\r\n"), Rejected(400)),
        (with(": v\r\n"), Rejected(400)),
        (with("X Row: v\r\n"), Rejected(400)),
        (with("X-R\u{e9}: v\r\n"), Rejected(400)),
        (with("X(Row): v\r\n"), Rejected(400)),
        // A bare LF ends a line (RFC 9112 §2.2 allows it); the app sees CRLF.
        (
            with("X-One: 1\nX-Two: 2\r\n"),
            Passed(&["x-one: 1\r\nx-two: 2\r\n"], &[]),
        ),
        (
            b"GET /row HTTP/1.1\nHost: localhost\n\n".to_vec(),
            Passed(&["host: localhost\r\n"], &["\n\n"]),
        ),
        (
            b"\r\nGET /row HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            Passed(&["GET /row HTTP/1.1\r\n"], &[]),
        ),
        (
            with("X-Row:   padded   \r\n"),
            Passed(&["x-row: padded\r\n"], &[]),
        ),
        (with("X-Row:\r\n"), Passed(&["x-row:"], &[])),
    ]
}

/// Request lines (RFC 9112 §3).
fn request_lines() -> Vec<(Vec<u8>, Expected)> {
    vec![
        (b"GET /row\r\n".to_vec(), Rejected(400)),
        (line("GET  /row HTTP/1.1"), Rejected(400)),
        (line("GET /row  HTTP/1.1"), Rejected(400)),
        (line("GET\t/row\tHTTP/1.1"), Rejected(400)),
        (line("GET /a b HTTP/1.1"), Rejected(400)),
        (line("GET /row HTTP/1.2"), Rejected(400)),
        (line("GET /row HTTP/2.0"), Rejected(400)),
        (line("GET /row http/1.1"), Rejected(400)),
        (line("GET /row HTTP/1.1 "), Rejected(400)),
        (line("G@T/ /row HTTP/1.1"), Rejected(400)),
        (line(" GET /row HTTP/1.1"), Rejected(400)),
        (line("/row HTTP/1.1"), Rejected(400)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Closed),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            Rejected(400),
        ),
        (line("CONNECT localhost:22 HTTP/1.1"), Rejected(405)),
        (line("CONNECT /row HTTP/1.1"), Rejected(405)),
        (line("TRACE /row HTTP/1.1"), Rejected(405)),
        (target("*"), Rejected(400)),
        (line("OPTIONS * HTTP/1.1"), Rejected(400)),
        (target("row"), Rejected(400)),
        (target("localhost:443"), Rejected(400)),
        (target("ftp://localhost/row"), Rejected(400)),
        (target("https://other/row"), Rejected(400)),
        (target("https://user@localhost/row"), Rejected(400)),
        (
            target("https://localhost/row?x"),
            Passed(
                &["GET /row?x HTTP/1.1\r\n", "host: localhost\r\n"],
                &["https://"],
            ),
        ),
        (
            target("//other/row"),
            Passed(
                &["GET //other/row HTTP/1.1\r\n", "host: localhost\r\n"],
                &[],
            ),
        ),
        (target("/row%00"), Rejected(400)),
        (target("/r\u{1}ow"), Rejected(400)),
        (target(&format!("/{}", "a".repeat(8192))), Rejected(414)),
        (
            line("BREW /row HTTP/1.1"),
            Passed(&["BREW /row HTTP/1.1\r\n"], &[]),
        ),
        // An HTTP/1.0 client is given one answer and the end.
        (
            line("GET /row HTTP/1.0"),
            Passed(&["GET /row HTTP/1.1\r\n"], &[]),
        ),
    ]
}

/// Hosts (RFC 9112 §3.2).
fn hosts() -> Vec<(Vec<u8>, Expected)> {
    vec![
        (host(""), Rejected(400)),
        (host("Host: \r\n"), Rejected(400)),
        (host("Host: a\r\nHost: a\r\n"), Rejected(400)),
        (host("Host: a\r\nHost: b\r\n"), Rejected(400)),
        (host("Host: a, b\r\n"), Rejected(400)),
        (host("Host: a b\r\n"), Rejected(400)),
        (host("Host: a/b\r\n"), Rejected(400)),
        (host("Host: user@a\r\n"), Rejected(400)),
        (host("Host: a:0\r\n"), Rejected(400)),
        (host("Host: a:65536\r\n"), Rejected(400)),
        (host("Host: a:443x\r\n"), Rejected(400)),
        (host("Host: a..b\r\n"), Rejected(400)),
        (host("Host: .a\r\n"), Rejected(400)),
        (host("Host: [::1\r\n"), Rejected(400)),
        (host("Host: a%2eb\r\n"), Rejected(400)),
        (host("Host: a\\b\r\n"), Rejected(400)),
        (
            host("Host: a\r\nX-Forwarded-Host: b\r\n"),
            Passed(&["host: a\r\n", "x-forwarded-host: a\r\n"], &[": b\r\n"]),
        ),
        (
            host("Host: [::1]:8443\r\n"),
            Passed(&["host: [::1]:8443\r\n", "x-forwarded-port: 8443\r\n"], &[]),
        ),
        (b"GET /row HTTP/1.0\r\n\r\n".to_vec(), Rejected(400)),
    ]
}

/// Headers by which a client could speak for a proxy, or for this connection.
fn headers() -> Vec<(Vec<u8>, Expected)> {
    let long = "X-Row: ".to_owned() + &"a".repeat(33 * 1024) + "\r\n";
    let many: String = (0..101).map(|n| format!("X-{n}: v\r\n")).collect();
    let rows = HEADERS.iter().cloned();
    rows.map(|(lines, expected)| (with(lines), expected))
        .chain([
            (
                posted("Connection: Content-Length\r\nContent-Length: 2\r\n", "ab"),
                Passed(&["\r\n\r\n", "ab"], &[]),
            ),
            (
                posted("Expect: 100-continue\r\nContent-Length: 2\r\n", "ab"),
                Passed(&["ab"], &["expect"]),
            ),
            (
                posted("Expect: pigs-fly\r\nContent-Length: 2\r\n", "ab"),
                Passed(&["ab"], &["expect"]),
            ),
            (with(&long), Rejected(431)),
            (with(&many), Rejected(431)),
        ])
        .collect()
}

/// Headers of a request without a body.
const HEADERS: &[(&str, Expected)] = &[
    (
        "X_Forwarded_For: 6.6.6.6\r\n",
        Passed(&["x-forwarded-for: 127.0.0.1\r\n"], &["6.6.6.6"]),
    ),
    (
        "X.Forwarded.For: 6.6.6.6\r\n",
        Passed(&["x-forwarded-for: 127.0.0.1\r\n"], &["6.6.6.6"]),
    ),
    (
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n",
        Passed(&["x-forwarded-for: 127.0.0.1\r\n"], &["6.6.6.6", "7.7.7.7"]),
    ),
    (
        "Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nClient-IP: 6.6.6.6\r\n",
        Passed(&[], &["6.6.6.6"]),
    ),
    (
        "X-Forwarded-Proto: http\r\nX-Forwarded-Port: 81\r\n",
        Passed(
            &["x-forwarded-proto: https\r\n", "x-forwarded-port: 443\r\n"],
            &["81\r\n"],
        ),
    ),
    (
        "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n",
        Passed(&[], &["/admin"]),
    ),
    (
        "X-HTTP-Method-Override: PUT\r\n",
        Passed(&["x-http-method-override: PUT\r\n"], &[]),
    ),
    ("Proxy: http://evil\r\n", Passed(&[], &["evil"])),
    (
        "X-Request-Id: forged\r\n",
        Passed(&["x-request-id: "], &["forged"]),
    ),
    (
        "Connection: X-Forwarded-For, X-Row\r\nX-Row: v\r\n",
        Passed(&["x-forwarded-for: 127.0.0.1\r\n"], &["x-row"]),
    ),
    (
        "Connection: Host\r\n",
        Passed(&["host: localhost\r\n"], &[]),
    ),
    (
        "Connection: a\r\nConnection: b\r\nA: 1\r\nB: 2\r\n",
        Passed(&[], &["\r\na: 1", "\r\nb: 2"]),
    ),
    (
        "Keep-Alive: 9\r\nProxy-Connection: x\r\nTE: gzip\r\n",
        Passed(&[], &["keep-alive", "proxy-connection", "te: gzip"]),
    ),
    (
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        Passed(&[], &["h2c", "http2-settings"]),
    ),
];

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
