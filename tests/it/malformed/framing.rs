//! The end of a body: lengths, transfer codings and chunks.

use super::Expected::{Passed, Rejected};
use super::{CHUNKED, Expected, posted, with};

/// Lengths (RFC 9112 §6.3, RFC 9110 §8.6).
pub(super) fn lengths() -> Vec<(Vec<u8>, Expected)> {
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
pub(super) fn codings() -> Vec<(Vec<u8>, Expected)> {
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
pub(super) fn chunks() -> Vec<(Vec<u8>, Expected)> {
    vec![
        (
            posted(CHUNKED, "1;name=value\r\na\r\n0\r\n\r\n"),
            Passed(&["1\r\na\r\n0\r\n"], &["name"]),
        ),
        // A body without a length is rare in a GET, but it is there.
        (
            [&with(CHUNKED)[..], b"1\r\na\r\n0\r\n\r\n"].concat(),
            Passed(
                &[
                    "GET /row",
                    "transfer-encoding: chunked\r\n",
                    "1\r\na\r\n0\r\n",
                ],
                &[],
            ),
        ),
        (
            [&with("Content-Length: 2\r\n")[..], b"ab"].concat(),
            Passed(&["GET /row", "content-length: 2\r\n", "\r\n\r\nab"], &[]),
        ),
        // Trailers that some servers would take for headers.
        (
            posted(
                &format!("{CHUNKED}Trailer: Cookie, X-Sum\r\n"),
                "1\r\na\r\n0\r\nCookie: a=1\r\nX-Sum: 7\r\n\r\n",
            ),
            Passed(&["1\r\na\r\n0\r\nx-sum: 7\r\n"], &["a=1"]),
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
