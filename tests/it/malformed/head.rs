//! The request line, the host and the headers.

use super::Expected::{Closed, Passed, Rejected};
use super::{Expected, host, line, posted, target, with};

/// Lines and names (RFC 9112 §2.2, §5.1, §5.2).
pub(super) fn lines() -> Vec<(Vec<u8>, Expected)> {
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
pub(super) fn request_lines() -> Vec<(Vec<u8>, Expected)> {
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
            target("https://localhost:443/row"),
            Passed(&["GET /row HTTP/1.1\r\n", "host: localhost\r\n"], &[]),
        ),
        (target("https://localhost:8443/row"), Rejected(400)),
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
pub(super) fn hosts() -> Vec<(Vec<u8>, Expected)> {
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
        (
            host("Host: a:\r\n"),
            Passed(&["host: a\r\n", "x-forwarded-host: a\r\n"], &[]),
        ),
        (host("Host: :\r\n"), Rejected(400)),
        // Health checks of load balancers send no host. Only HTTP/1.1 requires one.
        (
            b"OPTIONS / HTTP/1.0\r\n\r\n".to_vec(),
            Passed(&["OPTIONS / HTTP/1.1\r\n", "host: localhost\r\n"], &[]),
        ),
        (
            b"GET /row HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
            Rejected(400),
        ),
    ]
}

/// Headers by which a client could speak for a proxy, or for this connection.
pub(super) fn headers() -> Vec<(Vec<u8>, Expected)> {
    let long = "X-Row: ".to_owned() + &"a".repeat(33 * 1024) + "\r\n";
    let many: String = (0..101).map(|n| format!("X-{n}: v\r\n")).collect();
    let rows = HEADERS.iter().cloned();
    rows.map(|(lines, expected)| (with(lines), expected))
        .chain([
            (
                posted("Connection: Content-Length\r\nContent-Length: 2\r\n", "ab"),
                Passed(&["content-length: 2\r\n", "\r\n\r\nab"], &["chunked"]),
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
