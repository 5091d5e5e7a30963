//! The same files from nginx and from the edge: byte by byte and header by header the
//! same, but for the differences that are written here.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::{RawResponse, Site, ask};
use crate::nginx::Nginx;
use crate::support::Edge;

/// What differs where everything is well, and is left out of the comparison.
const IGNORED_HEADERS: [&str; 7] = [
    "server:",
    "date:",
    "x-request-id:",
    "connection:",
    // Said by the edge alone.
    "x-content-type-options:",
    "cache-control:",
    "vary:",
];

/// Headers without those that differ; text has its alphabet, scripts their right name.
fn comparable_response(answer: &RawResponse) -> (u16, Vec<String>, String) {
    let lines = answer.lines.iter();
    let lines = lines.filter(|line| !IGNORED_HEADERS.iter().any(|own| line.starts_with(own)));
    let lines = lines.map(|line| {
        let line = line.replace("; charset=utf-8", "");
        line.replace("application/javascript", "text/javascript")
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    (answer.status, lines, answer.text())
}

/// The same site, from nginx and from the edge.
struct Peers {
    nginx: Nginx,
    edge: Edge,
    /// What differs and should not.
    wrong: Vec<String>,
    _site: Site,
}

impl Peers {
    async fn start() -> Self {
        let site = site();
        let nginx = Nginx::with(&format!(
            "include /etc/nginx/mime.types; default_type application/octet-stream;\n\
             absolute_redirect off; gzip_static on;\n\
             location / {{ root {}; index index.html; }}",
            site.path("public").display()
        ))
        .await;
        let route = format!("{}[compression]\nenabled = false\n", site.route(""));
        let edge = Edge::configured("http://127.0.0.1:9", &(route + super::ALLOW));
        Self {
            nginx,
            edge,
            wrong: Vec::new(),
            _site: site,
        }
    }

    /// The responses of the edge and of nginx.
    async fn ask(&self, line: &str, lines: &str) -> (RawResponse, RawResponse) {
        let (nginx, edge) = (&self.nginx, &self.edge);
        (
            ask(edge.address, &edge.certificate, line, lines).await,
            ask(nginx.address, &nginx.certificate, line, lines).await,
        )
    }

    /// Both must respond the same.
    async fn expect_equal(&mut self, line: &str, lines: &str) {
        let (edge, nginx) = self.ask(line, lines).await;
        let (ours, theirs) = (comparable_response(&edge), comparable_response(&nginx));
        if ours != theirs {
            self.wrong.push(format!(
                "{line} {lines:?}: the edge {ours:?}, nginx {theirs:?}"
            ));
        }
    }

    /// The edge must respond with the status `ours`, and nginx with `theirs`. If these are
    /// equal, so must be the headers that belong to the status.
    async fn expect_statuses(&mut self, line: &str, lines: &str, (ours, theirs): (u16, u16)) {
        let (edge, nginx) = self.ask(line, lines).await;
        if (edge.status, nginx.status) != (ours, theirs) {
            self.wrong.push(format!(
                "{line} {lines:?}: the edge {}, nginx {}",
                edge.status, nginx.status
            ));
        }
        for name in ["location", "content-range", "allow"] {
            let (edge, nginx) = (edge.header(name), nginx.header(name));
            if ours == theirs && edge != nginx && nginx.is_some() {
                self.wrong.push(format!(
                    "{line} {lines:?}: {name}: the edge {edge:?}, nginx {nginx:?}"
                ));
            }
        }
    }

    /// What was compressed before: the same, but with a tag of its own, and in parts, too.
    async fn expect_equal_but_for_the_tag(&mut self, line: &str, lines: &str) {
        let (edge, nginx) = self.ask(line, lines).await;
        let without_tag = |answer: &RawResponse| {
            let (status, mut lines, text) = comparable_response(answer);
            lines.retain(|line| !line.starts_with("etag:") && !line.starts_with("accept-ranges:"));
            (status, lines, text)
        };
        if without_tag(&edge) != without_tag(&nginx) {
            let (ours, theirs) = (comparable_response(&edge), comparable_response(&nginx));
            self.wrong
                .push(format!("gzip: the edge {ours:?}, nginx {theirs:?}"));
        }
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn files_are_sent_as_nginx_sends_them() {
    let mut peers = Peers::start().await;
    for name in NAMES {
        for method in ["GET", "HEAD"] {
            peers.expect_equal(&format!("{method} /{name}"), "").await;
        }
    }
    let conditions = conditions();
    for lines in &conditions {
        peers.expect_equal("GET /robots.txt", lines).await;
    }
    for number in [0, 1, 4, 6] {
        let lines = &conditions[number];
        peers.expect_equal("HEAD /robots.txt", lines).await;
    }
    for &(line, lines, ours, theirs) in DIFFERENCES {
        peers.expect_statuses(line, lines, (ours, theirs)).await;
    }
    peers
        .expect_equal_but_for_the_tag("GET /app.js", "Accept-Encoding: gzip\r\n")
        .await;
    assert!(peers.wrong.is_empty(), "{:#?}", peers.wrong);
}

/// A site with files of all kinds, all written at one time.
fn site() -> Site {
    let site = Site::new();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (name, bytes) in [
        ("app.js", b"var a = 1;".to_vec()),
        ("app.js.gz", b"packed".to_vec()),
        ("style.css", b"a {}".to_vec()),
        ("data.json", b"{}".to_vec()),
        ("photo.png", (0..=255).cycle().take(300_000).collect()),
        ("photo.jpg", vec![1, 2, 3]),
        ("icon.svg", b"<svg/>".to_vec()),
        ("font.woff2", vec![9; 5000]),
        ("paper.pdf", vec![8; 70_000]),
        ("archive.zip", vec![7; 100]),
        ("empty.txt", Vec::new()),
        ("caf\u{e9}.txt", b"x".to_vec()),
        ("page.html", b"<p>".to_vec()),
        ("docs/index.html", b"<p>docs".to_vec()),
        ("robots.txt", b"all may come".to_vec()),
    ] {
        site.write(&format!("public/{name}"), bytes);
        let file = File::options()
            .append(true)
            .open(site.path(&format!("public/{name}")));
        file.unwrap().set_modified(then).unwrap();
    }
    site
}

/// Conditions and ranges for `robots.txt`.
fn conditions() -> [String; 21] {
    let tag = format!("\"{:x}-{:x}\"", 1_700_000_000, "all may come".len());
    let date = "Tue, 14 Nov 2023 22:13:20 GMT";
    [
        String::new(),
        format!("If-None-Match: {tag}\r\n"),
        format!("If-None-Match: W/\"x\", {tag}\r\n"),
        "If-None-Match: *\r\n".to_owned(),
        "If-None-Match: \"x\"\r\n".to_owned(),
        format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"),
        format!("If-Modified-Since: {date}\r\n"),
        "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
        format!("If-Unmodified-Since: {date}\r\n"),
        format!("If-Match: {tag}\r\n"),
        "If-Match: *\r\n".to_owned(),
        "Range: bytes=0-3\r\n".to_owned(),
        "Range: bytes=3-\r\n".to_owned(),
        "Range: bytes=-3\r\n".to_owned(),
        "Range: bytes=0-0\r\n".to_owned(),
        "Range: bytes=0-9999999\r\n".to_owned(),
        "Range: items=0-3\r\n".to_owned(),
        format!("Range: bytes=0-3\r\nIf-Range: {tag}\r\n"),
        format!("Range: bytes=0-3\r\nIf-Range: {date}\r\n"),
        "Range: bytes=0-3\r\nIf-Range: \"x\"\r\n".to_owned(),
        format!("Range: bytes=0-3\r\nIf-None-Match: {tag}\r\n"),
    ]
}

/// The paths of the site's files.
const NAMES: &[&str] = &[
    "app.js",
    "style.css",
    "data.json",
    "photo.png",
    "photo.jpg",
    "icon.svg",
    "font.woff2",
    "paper.pdf",
    "archive.zip",
    "empty.txt",
    "caf%C3%A9.txt",
    "page.html",
    "docs/",
    "",
    "robots.txt?a=b",
];

/// What is meant to differ, by status: the edge's, nginx', and why.
const DIFFERENCES: &[(&str, &str, u16, u16)] = &[
    // Their pages differ, not what they say.
    ("GET /missing", "", 404, 404),
    ("GET /docs", "", 301, 301),
    ("HEAD /docs?a=b", "", 301, 301),
    ("GET /robots.txt/", "", 404, 404),
    ("GET /robots.txt/x", "", 404, 404),
    ("POST /robots.txt", "Content-Length: 0\r\n", 405, 405),
    ("GET /robots.txt", "If-Match: \"x\"\r\n", 412, 412),
    (
        "GET /robots.txt",
        "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
        412,
        412,
    ),
    ("GET /robots.txt", "Range: bytes=12-\r\n", 416, 416),
    ("GET /robots.txt", "Range: bytes=-0\r\n", 416, 416),
    // The edge does not reveal a directory without a page.
    ("GET /empty/", "", 404, 403),
    ("GET /empty", "", 404, 301),
    // Hidden and not to be run.
    ("GET /.env", "", 404, 200),
    ("GET /.git/config", "", 404, 200),
    ("GET /index.php", "", 404, 200),
    // Links lead out of the directory.
    ("GET /out", "", 404, 200),
    // One spelling of a path only.
    ("GET //robots.txt", "", 404, 200),
    ("GET /docs/../robots.txt", "", 404, 200),
    ("GET /docs%2f..%2frobots.txt", "", 404, 200),
    // By RFC 9110 §13.1.3, not only if it is the same date.
    (
        "GET /robots.txt",
        "If-Modified-Since: Tue, 14 Nov 2034 22:13:20 GMT\r\n",
        304,
        200,
    ),
    // Several parts, a part of no body, and what is no range: all of it.
    ("GET /robots.txt", "Range: bytes=0-1,4-5\r\n", 200, 206),
    ("HEAD /robots.txt", "Range: bytes=0-1\r\n", 200, 206),
    ("GET /robots.txt", "Range: bytes=x\r\n", 200, 416),
    ("GET /robots.txt", "Range: bytes=3-2\r\n", 200, 416),
];
