//! Clients that mean harm, against the binary: what they cost is bounded, they
//! are told what they did, others are served meanwhile, and all is freed after.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::support::http::{Client, body, get};
use crate::support::program::Program;
use crate::support::{Laravel, Socket};

const MIB: u64 = 1024 * 1024;

/// A session and a connection from an address of their own, which must not
/// notice anything.
struct Bystander {
    socket: Socket,
    client: Client,
}

impl Bystander {
    async fn of(program: &Program) -> Self {
        let session = program.connect("http/1.1").await;
        Self {
            socket: Socket::over(session, "3|ana").await,
            client: program.http2().await,
        }
    }

    /// Whether both are served; the longest that one took.
    async fn served(&mut self, times: u32) -> Duration {
        let mut longest = Duration::ZERO;
        for _ in 0..times {
            let start = Instant::now();
            self.socket.settle().await;
            let answer = self.client.fetch(get("/").body(body("")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK);
            longest = longest.max(start.elapsed());
        }
        longest
    }
}

/// A connection that comes from `from`.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind((from, 0).into()).ok()?;
    socket.connect(to).await.ok()
}

async fn settles_at(program: &Program, connections: u64) {
    while program.status().await["connections"].as_u64() > Some(connections) {}
}

/// From one address, then from two hundred, saying nothing.
#[tokio::test]
async fn ten_thousand_connections_that_say_nothing() {
    rlimit::increase_nofile_limit(30_000).unwrap();
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut bystander = Bystander::of(&program).await;
    let calm = bystander.served(20).await;
    let (before, _) = program.memory();
    for addresses in [1_u32, 200] {
        let from = |n: u32| Ipv4Addr::from_bits(0x7f01_0001 + n % addresses);
        let connections = stream::iter(0..10_000_u32).map(|n| connect(from(n), program.address));
        let held: Vec<_> = connections.buffer_unordered(200).collect().await;
        let under = bystander.served(20).await;
        let (_, most) = program.memory();
        // The kernel's high-water mark can lag behind what was in use before.
        let more = most.saturating_sub(before) / MIB;
        println!("{addresses} addresses: {more} MiB more; bystander {calm:?}, then {under:?}");
        assert!(more < 256, "{more} MiB more");
        drop(held);
        settles_at(&program, 2).await;
    }
    bystander.served(5).await;
}

/// The kernel refuses more files: nothing dies, and it is told once.
#[tokio::test]
async fn no_file_is_left_for_a_connection() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nallow = [\"127.0.0.0/8\"]\n";
    let program = Program::before(&laravel.url(), more);
    let mut bystander = Bystander::of(&program).await;
    bystander.served(1).await;
    limit_files(&program, "40");
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(program.address).await.unwrap());
    }
    let told = |line: &serde_json::Value| line["message"] == "cannot accept a connection";
    program.logged(told).await;
    bystander.served(50).await;
    assert_eq!(program.count(told), 1);
    limit_files(&program, "1024");
    drop(held);
    program.http1().await;
    bystander.served(5).await;
}

fn limit_files(program: &Program, soft: &str) {
    let pid = program.pid().to_string();
    let limit = format!("--nofile={soft}:");
    let done = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(done.unwrap().success());
}

/// RFC 6455 §5: each of these breaks a rule, and is told which.
#[tokio::test]
async fn frames_that_break_the_rules_end_their_session_with_the_right_code() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "[limits]\nallow = [\"127.0.0.0/8\"]\n");
    let mut bystander = Bystander::of(&program).await;
    let cases: [(&str, Vec<u8>, u16); 14] = [
        ("unmasked", vec![0x81, 2, b'h', b'i'], 1002),
        ("RSV1 without an extension", masked(0xc1, b"hi"), 1002),
        ("RSV2", masked(0xa1, b"hi"), 1002),
        ("unknown opcode", masked(0x83, b"hi"), 1002),
        ("unknown control opcode", masked(0x8b, b""), 1002),
        ("fragmented ping", masked(0x09, b"hi"), 1002),
        ("ping of 126 bytes", masked(0x89, &[0; 126]), 1002),
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
    for (name, bytes, code) in cases {
        assert_eq!(closed_after(&program, &[bytes]).await, Some(code), "{name}");
    }
    bystander.served(3).await;
    settles_at(&program, 2).await;
}

#[tokio::test]
async fn floods_over_a_session_are_slowed_down_and_ended() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nallow = [\"127.0.0.0/8\"]\n[websocket]\nflood_timeout = \"1s\"\n";
    let program = Program::before(&laravel.url(), more);
    let mut bystander = Bystander::of(&program).await;
    let (before, _) = program.memory();
    let many = |frame: Vec<u8>| vec![frame.repeat(100); 1000];
    for (name, frames, codes) in [
        ("tiny texts", many(masked(0x81, b"x")), [1008, 1008]),
        ("pings", many(masked(0x89, b"x")), [1008, 1008]),
        // One message of more than 64 KiB, in pieces of a byte.
        (
            "fragments",
            [vec![masked(0x01, b"x")], many(masked(0x00, b"x"))].concat(),
            [1009, 1008],
        ),
    ] {
        let code = closed_after(&program, &frames).await;
        assert!(
            code.is_none_or(|code| codes.contains(&code)),
            "{name}: {code:?}"
        );
        let longest = bystander.served(5).await;
        println!("{name}: {code:?}; bystander at most {longest:?}");
    }
    settles_at(&program, 2).await;
    let (after, _) = program.memory();
    assert!(after.saturating_sub(before) < 32 * MIB);
}

/// `permessage-deflate` would let one small frame grow to a large one.
#[tokio::test]
async fn no_extension_is_agreed_on() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let (_, head) = upgraded(&program).await;
    assert!(
        !head
            .to_ascii_lowercase()
            .contains("sec-websocket-extensions"),
        "{head}"
    );
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

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// A session that was opened by hand, and the head of the answer.
async fn upgraded(program: &Program) -> (Stream, String) {
    let mut stream = program.connect("http/1.1").await;
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

/// Sends all of `bytes` over a new session; the code that it is closed with, if
/// it is told before the connection breaks.
async fn closed_after(program: &Program, bytes: &[Vec<u8>]) -> Option<u16> {
    let (stream, _) = upgraded(program).await;
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
