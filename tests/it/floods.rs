//! HTTP/2 frames that mean no good, made by hand (RFC 9113 §4.1): the connection
//! that sends them ends, and nobody else notices.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::{Client, body, connect, get};
use crate::support::{Edge, Laravel};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// `GET https://localhost/hang`, as HPACK writes it without its tables
/// (RFC 7541 §6.2.2): it never ends by itself.
fn request() -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    for (name, value) in [
        (&b":path"[..], &b"/hang"[..]),
        (b":authority", b"localhost"),
    ] {
        block.extend([0, name.len() as u8]);
        block.extend(name);
        block.push(value.len() as u8);
        block.extend(value);
    }
    block
}

/// Sends `flood(n)` for n from 0 until the connection ends, `most` at the most;
/// whether it ended. Another client is served meanwhile.
async fn ends(edge: &Edge, most: u32, flood: impl Fn(u32) -> Vec<u8>) -> bool {
    let stream = connect(edge, "h2").await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let reading = tokio::spawn(async move {
        let mut sink = [0; 4096];
        while from.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
    to.write_all(PREFACE).await.unwrap();
    to.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut bystander = Client::http1(edge).await;
    for batch in 0..most / BATCH {
        let bytes: Vec<u8> = (0..BATCH).flat_map(|n| flood(batch * BATCH + n)).collect();
        if to.write_all(&bytes).await.is_err() || reading.is_finished() {
            return true;
        }
        if batch % 50 == 0 {
            let answer = bystander.fetch(get("/").body(body("")).unwrap()).await;
            assert!(
                [200, 429].contains(&answer.status.as_u16()),
                "{}",
                answer.status
            );
        }
    }
    let _ = to.shutdown().await;
    false
}

const BATCH: u32 = 100;
const MANY: u32 = 400_000;

/// Makes the frames of one number.
type Flood = &'static dyn Fn(u32) -> Vec<u8>;

#[tokio::test]
async fn frames_that_carry_nothing_end_their_connection() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let floods: [(&str, Flood); 6] = [
        ("PING", &|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
        ("SETTINGS", &|_| frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", &|n| {
            frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 1])
        }),
        ("WINDOW_UPDATE", &|_| {
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
        }),
        ("unknown", &|_| frame(0xbe, 0, 0, &[0; 16])),
        ("DATA of no stream", &|_| frame(DATA, 0, 1, &[])),
    ];
    for (name, flood) in floods {
        assert!(ends(&edge, MANY, flood).await, "{name}");
    }
}

#[tokio::test]
async fn headers_that_go_on_and_on_end_their_connection() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let endless = |n: u32| match n {
        0 => frame(HEADERS, 0, 1, &request()),
        _ => frame(CONTINUATION, 0, 1, b"\0\x01a\x01b"),
    };
    assert!(ends(&edge, MANY, endless).await);
    // One header, and references to it: small on the way, large when unpacked.
    let bomb = |n: u32| {
        let mut block = request();
        block.extend([0x40, 1, b'a', 0x7f, 0x81, 0x1e]);
        block.extend([b'b'; 4000]);
        block.extend([0xbe; 8000]);
        frame(HEADERS, 0x5, 2 * n + 1, &block)
    };
    assert!(ends(&edge, 10_000, bomb).await);
    assert!(!laravel.requests().iter().any(|seen| seen.target == "/hang"));
}

/// CVE-2023-44487.
#[tokio::test]
async fn requests_that_are_reset_at_once_end_their_connection() {
    let laravel = Laravel::start().await;
    let limits = "[limits]\nallow = [\"127.0.0.0/8\"]\n";
    let edge = Edge::configured(&laravel.url(), limits);
    let reset = |n: u32| {
        let stream = 2 * n + 1;
        let mut both = frame(HEADERS, 0x5, stream, &request());
        both.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
        both
    };
    assert!(ends(&edge, MANY, reset).await);
    let asked = laravel
        .requests()
        .iter()
        .filter(|seen| seen.target == "/hang")
        .count();
    assert!(asked < 2000, "{asked} requests reached Laravel");
}
