//! Hostile HTTP/2 frames, made by hand (RFC 9113 §4.1). The edge closes the connection that
//! sends them, and no other.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ATTACKER, AttackHarness, MIB, connect_tls};
use crate::support::program::Program;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(super) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// `GET https://localhost/path`, as HPACK writes it without its tables
/// (RFC 7541 §6.2.2).
pub(crate) fn request(path: &str) -> Vec<u8> {
    [&[0x82][..], &target(path)].concat()
}

/// The same with `POST`.
pub(super) fn post(path: &str) -> Vec<u8> {
    [&[0x83][..], &target(path)].concat()
}

fn target(path: &str) -> Vec<u8> {
    let mut block = vec![0x87];
    for (name, value) in [(":path", path), (":authority", "localhost")] {
        for text in [name, value] {
            if text == name {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Sends `first`, then `flood(n)` for n from 0 until the connection ends; whether
/// it ended before all buffers on the way were full many times over.
async fn flood_ends_connection(
    program: &Program,
    first: &[u8],
    flood: impl Fn(u32) -> Vec<u8>,
) -> bool {
    let stream = connect_tls(ATTACKER, program, "h2").await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let reading = tokio::spawn(async move {
        let mut sink = [0; 4096];
        while from.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    });
    let settings = frame(SETTINGS, 0, 0, &[]);
    let begin = [PREFACE, &settings, first].concat();
    to.write_all(&begin).await.unwrap();
    let (mut batch, mut sent) = (0, 0);
    while sent < MAX_SENT_BYTES {
        let bytes: Vec<u8> = (0..BATCH).flat_map(|n| flood(batch * BATCH + n)).collect();
        (batch, sent) = (batch + 1, sent + bytes.len() as u64);
        if to.write_all(&bytes).await.is_err() || reading.is_finished() {
            return true;
        }
    }
    let _ = to.shutdown().await;
    false
}

const BATCH: u32 = 100;
const MAX_SENT_BYTES: u64 = 64 * MIB;

/// Makes the frames of one number.
type Flood = &'static dyn Fn(u32) -> Vec<u8>;

#[tokio::test]
async fn flood_of_empty_frames_ends_its_connection() {
    let mut harness = AttackHarness::start("").await;
    let program = Arc::clone(&harness.program);
    let (before, _) = program.memory();
    let open_post = frame(HEADERS, 0x4, 1, &post("/trailers"));
    let floods: [(&str, &[u8], Flood); 8] = [
        ("PING", &[], &|n| {
            frame(PING, 0, 0, &u64::from(n).to_be_bytes())
        }),
        ("SETTINGS", &[], &|_| frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", &[], &|n| {
            frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 1])
        }),
        ("WINDOW_UPDATE", &[], &|_| {
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])
        }),
        ("unknown", &[], &|_| frame(0xbe, 0, 0, &[0; 16])),
        ("DATA of no stream", &[], &|_| frame(DATA, 0, 1, &[])),
        // CVE-2019-9518.
        ("empty DATA of a POST", &open_post, &|_| {
            frame(DATA, 0, 1, &[])
        }),
        ("padding of a POST", &open_post, &|_| {
            frame(DATA, 0x8, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }),
    ];
    for (name, first, flood) in floods {
        let attack = async {
            assert!(
                flood_ends_connection(&program, first, flood).await,
                "{name}"
            )
        };
        harness.run(name, attack).await;
    }
    let grown = program.memory().1.saturating_sub(before) / MIB;
    assert!(grown < 32, "{grown} MiB");
}

#[tokio::test]
async fn endless_headers_end_their_connection() {
    let mut harness = AttackHarness::start("").await;
    let program = Arc::clone(&harness.program);
    let (before, _) = program.memory();
    let endless = |n: u32| match n {
        0 => frame(HEADERS, 0, 1, &request("/hang")),
        _ => frame(CONTINUATION, 0, 1, b"\0\x01a\x01b"),
    };
    let attack = async { assert!(flood_ends_connection(&program, &[], endless).await) };
    harness.run("CONTINUATION", attack).await;
    // One header, and references to it: small on the way, large when unpacked.
    let bomb = |n: u32| {
        let mut block = request("/hang");
        block.extend([0x40, 1, b'a', 0x7f, 0x81, 0x1e]);
        block.extend([b'b'; 4000]);
        block.extend([0xbe; 8000]);
        frame(HEADERS, 0x5, 2 * n + 1, &block)
    };
    let attack = async { assert!(flood_ends_connection(&program, &[], bomb).await) };
    harness.run("HPACK bomb", attack).await;
    let mut seen = harness.laravel.requests().into_iter();
    assert!(!seen.any(|seen| seen.target == "/hang"));
    let grown = program.memory().1.saturating_sub(before) / MIB;
    assert!(grown < 32, "{grown} MiB");
}

/// CVE-2023-44487.
#[tokio::test]
async fn rapid_resets_end_their_connection() {
    let mut harness =
        AttackHarness::start("requests_per_second = 1000000\nrequest_burst = 1000000\n").await;
    let program = Arc::clone(&harness.program);
    let reset = |n: u32| {
        let stream = 2 * n + 1;
        let mut both = frame(HEADERS, 0x5, stream, &request("/hang"));
        both.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
        both
    };
    let attack = async { assert!(flood_ends_connection(&program, &[], reset).await) };
    harness.run("rapid reset", attack).await;
    let seen = harness.laravel.requests().into_iter();
    let forwarded = seen.filter(|seen| seen.target == "/hang").count();
    assert!(forwarded < 2000, "{forwarded} requests reached Laravel");
}
