//! WebSocket clients that break the rules, or keep them and flood.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ATTACKER, AttackHarness, MIB, Stream, connect_tls};
use crate::support::Socket;
use crate::support::program::Program;

/// Each of these violates RFC 6455 §5, and the close code says how.
#[tokio::test]
async fn invalid_frame_closes_the_session_with_its_code() {
    let mut harness = AttackHarness::start("websocket_handshake_burst = 1000\n").await;
    let program = Arc::clone(&harness.program);
    let cases: [(&str, Vec<u8>, u16); 17] = [
        ("unmasked", vec![0x81, 2, b'h', b'i'], 1002),
        ("RSV1 without an extension", masked(0xc1, b"hi"), 1002),
        ("RSV2", masked(0xa1, b"hi"), 1002),
        ("unknown opcode", masked(0x83, b"hi"), 1002),
        ("unknown control opcode", masked(0x8b, b""), 1002),
        ("fragmented ping", masked(0x09, b"hi"), 1002),
        ("ping of 126 bytes", masked(0x89, &[0; 126]), 1002),
        (
            "header of a ping of 60 000 bytes",
            vec![0x89, 0xfe, 0xea, 0x60],
            1002,
        ),
        ("header of a close of 127 EiB", vec![0x88, 0xff], 1002),
        (
            "header of a fragment beyond the longest message",
            [masked(0x01, &[b'x'; 40_000]), vec![0x80, 0xfe, 0xea, 0x60]].concat(),
            1009,
        ),
        ("continuation of nothing", masked(0x80, b"hi"), 1002),
        (
            "text within a text",
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
            1002,
        ),
        ("not UTF-8", masked(0x81, &[0xff, 0xfe]), 1007),
        ("half a character", masked(0x81, &[0xe2, 0x82]), 1007),
        (
            "close code 1005",
            masked(0x88, &1005_u16.to_be_bytes()),
            1002,
        ),
        ("close of one byte", masked(0x88, &[3]), 1002),
        (
            "a frame of 16 EiB",
            vec![
                0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
            ],
            1009,
        ),
    ];
    let attack = async {
        for (name, bytes, code) in cases {
            assert_eq!(closed_after(&program, &[bytes]).await, Some(code), "{name}");
        }
        // RFC 6455 §7.4: reserved codes, and codes without a meaning.
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            let closed = closed_after(&program, &[masked(0x88, &code.to_be_bytes())]).await;
            assert_eq!(closed, Some(1002), "close code {code}");
        }
    };
    harness.run("frames against the rules", attack).await;
}

#[tokio::test]
async fn session_flooding_messages_is_throttled_and_closed() {
    let mut harness = AttackHarness::start("[websocket]\nthrottle_timeout = \"1s\"\n").await;
    let program = Arc::clone(&harness.program);
    let (before, _) = program.memory();
    let many = |frame: Vec<u8>| vec![frame.repeat(100); 1000];
    let endless = |frame: Vec<u8>| vec![frame.repeat(100); 10_000];
    for (name, frames, codes) in [
        ("100 000 tiny texts", many(masked(0x81, b"x")), [1008, 1008]),
        ("100 000 empty texts", many(masked(0x81, b"")), [1008, 1008]),
        ("100 000 pings", many(masked(0x89, b"x")), [1008, 1008]),
        ("pongs", many(masked(0x8a, &[0; 100])), [1008, 1008]),
        // One message of more than 64 KiB, in pieces of a byte.
        (
            "fragments",
            [vec![masked(0x01, b"x")], many(masked(0x00, b"x"))].concat(),
            [1009, 1008],
        ),
        (
            "empty fragments",
            [vec![masked(0x01, b"")], endless(masked(0x00, b""))].concat(),
            [1008, 1008],
        ),
        (
            "joining and leaving",
            many(
                [
                    masked(0x81, br#"{"type":"join_ticket","payload":{"ticket_id":1}}"#),
                    masked(
                        0x81,
                        br#"{"type":"leave_ticket","payload":{"ticket_id":1}}"#,
                    ),
                ]
                .concat(),
            ),
            [1008, 1008],
        ),
    ] {
        // The code is lost where the connection breaks with data on its way.
        let code = harness.run(name, closed_after(&program, &frames)).await;
        assert!(
            code.is_none_or(|code| codes.contains(&code)),
            "{name}: {code:?}"
        );
    }
    let (after, _) = program.memory();
    assert!(after.saturating_sub(before) < 32 * MIB);
}

/// Its events wait, then the edge closes it with 4008; the others in the room continue.
#[tokio::test]
async fn session_that_never_reads_is_closed() {
    let mut harness = AttackHarness::start("[websocket]\nwrite_timeout = \"1s\"\n").await;
    let program = Arc::clone(&harness.program);
    let (before, _) = program.memory();
    let attack = async {
        let stream = connect_tls(ATTACKER, &program, "http/1.1").await.unwrap();
        let mut deaf = Socket::over(stream, "5|desk").await;
        deaf.join(2).await;
        let text = "x".repeat(60_000);
        while program.status().await["sessions_closed"]["slow"] != 1 {
            for _ in 0..50 {
                program.publish(2, json!({ "message": text })).await;
            }
        }
        drop(deaf);
    };
    harness.run("a session that never reads", attack).await;
    let grown = program.memory().1.saturating_sub(before) / MIB;
    assert!(grown < 32, "{grown} MiB");
}

/// `permessage-deflate` would let one small frame grow to a large one.
#[tokio::test]
async fn websocket_extensions_are_not_negotiated() {
    let harness = AttackHarness::start("").await;
    let (_, head) = open_raw_session(&harness.program).await;
    let head = head.to_ascii_lowercase();
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
}

/// A client's frame with a mask of zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A session that was opened by hand, and the head of the answer.
async fn open_raw_session(program: &Program) -> (Stream, String) {
    let mut stream = connect_tls(ATTACKER, program, "http/1.1").await.unwrap();
    let request = "GET /ws?token=3%7Cana HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    (stream, head)
}

/// Sends all of `bytes` over a new session. Returns the close code, if it arrives before the
/// connection breaks.
async fn closed_after(program: &Program, bytes: &[Vec<u8>]) -> Option<u16> {
    let (stream, _) = open_raw_session(program).await;
    let (mut from, mut to) = tokio::io::split(stream);
    let writing = async {
        for part in bytes {
            if to.write_all(part).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        loop {
            let first = from.read_u8().await.ok()?;
            let length = match from.read_u8().await.ok()? {
                126 => from.read_u16().await.ok()?.into(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            from.read_exact(&mut payload).await.ok()?;
            if first == 0x88 {
                return Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
    };
    tokio::select! {
        code = reading => code,
        () = writing => unreachable!("it never ends"),
    }
}
